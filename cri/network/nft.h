// nftables in-process, through libnftables' command language. No program is started.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

struct nft_ctx;

namespace berth::network {

// Works on the network namespace of the thread that made it. Not thread-safe.
class Nft {
 public:
  static absl::StatusOr<Nft> Open();
  // Runs the commands as one transaction: all or nothing. Returns what they print. Internal with nftables' own message
  // when it fails.
  absl::StatusOr<std::string> Run(absl::string_view commands);

 private:
  struct Free {
    void operator()(nft_ctx* ctx) const;
  };
  explicit Nft(nft_ctx* ctx) : ctx_(ctx) {}
  std::unique_ptr<nft_ctx, Free> ctx_;
};

}  // namespace berth::network
