// How the image store keeps layers.
#pragma once

namespace berth::image {

struct LayerStoreOptions {
  enum class Format {
    kAuto,                   // EROFS where it works
    kErofs,                  // the layer's archive in one file with an index, which the kernel mounts
    kDirectory,              // a tree of files
  } format = Format::kAuto;  // of new layers; the store may hold both
  bool keep_blobs = false;   // of new layers, as the registry sent them
};

}  // namespace berth::image
