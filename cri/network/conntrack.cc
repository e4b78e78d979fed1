#include "cri/network/conntrack.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

namespace berth::network {
namespace {

struct CloseSocket {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};
using Socket = std::unique_ptr<mnl_socket, CloseSocket>;

using Buffer = std::array<char, 1024>;

nlmsghdr* Request(Buffer* buffer, uint16_t message, uint16_t flags) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer->data());
  header->nlmsg_type = static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | message);
  header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  auto* body = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  body->nfgen_family = AF_INET;
  body->version = NFNETLINK_V0;
  return header;
}

const nlattr* FindAttribute(const void* begin, const char* end, uint16_t type) {
  auto* attr = static_cast<const nlattr*>(begin);
  for (; mnl_attr_ok(attr, static_cast<int>(end - reinterpret_cast<const char*>(attr))); attr = mnl_attr_next(attr)) {
    if (mnl_attr_get_type(attr) == type) return attr;
  }
  return nullptr;
}

const nlattr* FindNested(const nlattr* nest, uint16_t type) {
  auto* begin = static_cast<const char*>(mnl_attr_get_payload(nest));
  return FindAttribute(begin, begin + mnl_attr_get_payload_len(nest), type);
}

struct Scan {
  const std::set<int>* ports;
  std::vector<std::string> tuples;  // payloads of CTA_TUPLE_ORIG, as the kernel wants them back
};

int Inspect(const nlmsghdr* header, void* data) {
  auto* scan = static_cast<Scan*>(data);
  auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(header));
  const nlattr* tuple = FindAttribute(mnl_nlmsg_get_payload_offset(header, sizeof(nfgenmsg)), end, CTA_TUPLE_ORIG);
  const nlattr* proto = tuple == nullptr ? nullptr : FindNested(tuple, CTA_TUPLE_PROTO);
  if (proto == nullptr) return MNL_CB_OK;
  const nlattr* number = FindNested(proto, CTA_PROTO_NUM);
  const nlattr* port = FindNested(proto, CTA_PROTO_DST_PORT);
  if (number == nullptr || port == nullptr || mnl_attr_get_u8(number) != IPPROTO_UDP) return MNL_CB_OK;
  if (scan->ports->count(ntohs(mnl_attr_get_u16(port))) != 0) {
    scan->tuples.emplace_back(static_cast<const char*>(mnl_attr_get_payload(tuple)), mnl_attr_get_payload_len(tuple));
  }
  return MNL_CB_OK;
}

absl::Status Exchange(mnl_socket* socket, nlmsghdr* request, uint32_t sequence, mnl_cb_t callback, void* data) {
  request->nlmsg_seq = sequence;
  if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0) return ErrnoError(errno, "conntrack send");
  std::vector<char> buffer(32768);
  for (;;) {
    ssize_t n = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "conntrack receive");
    int more =
        mnl_cb_run(buffer.data(), static_cast<size_t>(n), sequence, mnl_socket_get_portid(socket), callback, data);
    if (more < 0) return ErrnoError(errno, "conntrack");
    if (more == MNL_CB_STOP) return absl::OkStatus();
  }
}

}  // namespace

absl::Status ForgetUdpFlows(const std::set<int>& ports) {
  if (ports.empty()) return absl::OkStatus();
  Socket socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC));
  if (!socket) return ErrnoError(errno, "open conntrack socket");
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return ErrnoError(errno, "bind conntrack socket");
  Buffer buffer;
  Scan scan{.ports = &ports};
  uint32_t sequence = 1;
  nlmsghdr* dump = Request(&buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
  RETURN_IF_ERROR(Exchange(socket.get(), dump, sequence, Inspect, &scan));
  for (const std::string& tuple : scan.tuples) {
    if (tuple.size() > buffer.size() / 2) continue;
    nlmsghdr* request = Request(&buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
    mnl_attr_put(request, CTA_TUPLE_ORIG | NLA_F_NESTED, tuple.size(), tuple.data());
    absl::Status status = Exchange(socket.get(), request, ++sequence, nullptr, nullptr);
    if (!status.ok() && ErrnoOf(status) != ENOENT) return status;  // it may have expired meanwhile
  }
  return absl::OkStatus();
}

}  // namespace berth::network
