// A large blob over several connections at once: in chunks, which reach the sink in their order. For networks that give
// one connection less than they have.
#pragma once

#include "image/pull/transfer_slots.h"
#include "image/registry/session.h"
#include "runtime/base/status.h"

namespace berth::image {

struct RangedBlob {
  static constexpr uint64_t kChunk = 4 << 20;
  RegistrySession* session;
  TransferSlots* slots;  // each further connection takes one when there is one free
  int connections = 1;
  uint64_t large = 64 << 20;  // a blob that is not larger comes over one connection
};

// As RegistrySession::GetBlob, whose contract it has. At most `connections` chunks are in memory, those that the sink
// waits for. A server that gives no ranges is asked for the whole blob over one connection.
absl::Status GetBlobInRanges(const RangedBlob& blob, BlobTransfer& transfer, const BlobSink& sink,
                             const Cancelled& stopped);

}  // namespace berth::image
