#include "cri/network/nft.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

// libnftables opens its socket without close-on-exec and does not tell which one it is.
absl::Status CloseNetfilterSocketsOnExec() {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir.get()));
  for (const std::string& name : names) {
    int fd = -1, domain = 0, protocol = 0;
    socklen_t size = sizeof domain;
    if (!absl::SimpleAtoi(name, &fd)) continue;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_NETLINK) continue;
    size = sizeof protocol;
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 || protocol != NETLINK_NETFILTER) continue;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  return absl::OkStatus();
}

}  // namespace

void Nft::Free::operator()(nft_ctx* ctx) const { nft_ctx_free(ctx); }

absl::StatusOr<Nft> Nft::Open() {
  Nft nft(nft_ctx_new(NFT_CTX_DEFAULT));
  if (!nft.ctx_) return absl::InternalError("nftables cannot be initialised");
  RETURN_IF_ERROR(CloseNetfilterSocketsOnExec());
  nft_ctx_output_set_flags(nft.ctx_.get(), NFT_CTX_OUTPUT_HANDLE);  // what a rule is deleted by
  nft_ctx_buffer_output(nft.ctx_.get());
  nft_ctx_buffer_error(nft.ctx_.get());
  return nft;
}

absl::StatusOr<std::string> Nft::Run(absl::string_view commands) {
  int failed = nft_run_cmd_from_buffer(ctx_.get(), std::string(commands).c_str());
  // The getters hand out the text and start anew.
  std::string output = nft_ctx_get_output_buffer(ctx_.get());
  std::string error = nft_ctx_get_error_buffer(ctx_.get());
  if (failed) {
    std::vector<absl::string_view> lines = absl::StrSplit(error, '\n');
    return absl::InternalError(absl::StrCat("nftables: ", lines.front()));
  }
  return output;
}

}  // namespace berth::network
