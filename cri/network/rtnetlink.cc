#include "cri/network/rtnetlink.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <array>
#include <cerrno>

#include "absl/time/clock.h"

namespace berth::network {
namespace {

// A message under construction. 4 KiB is many times what the longest one here takes.
class Message {
 public:
  Message(uint16_t type, uint16_t flags) : header_(mnl_nlmsg_put_header(buffer_.data())) {
    header_->nlmsg_type = type;
    header_->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  }
  template <typename T>
  T* Body() {
    return static_cast<T*>(mnl_nlmsg_put_extra_header(header_, sizeof(T)));
  }
  nlmsghdr* header() { return header_; }
  void Put(uint16_t type, const void* data, size_t size) { mnl_attr_put(header_, type, size, data); }
  void PutU32(uint16_t type, uint32_t value) { mnl_attr_put_u32(header_, type, value); }
  void PutU8(uint16_t type, uint8_t value) { mnl_attr_put_u8(header_, type, value); }
  void PutIp(uint16_t type, Ipv4 ip) { mnl_attr_put_u32(header_, type, htonl(ip.value)); }
  void PutString(uint16_t type, absl::string_view value) {
    mnl_attr_put_strz(header_, type, std::string(value).c_str());
  }
  template <typename F>
  void Nest(uint16_t type, F&& fill) {
    nlattr* nest = mnl_attr_nest_start(header_, type);
    fill();
    mnl_attr_nest_end(header_, nest);
  }

 private:
  alignas(NLMSG_ALIGNTO) std::array<char, 4096> buffer_ = {};
  nlmsghdr* header_;
};

Message LinkMessage(uint16_t type, uint16_t flags, int index, bool up, unsigned char family = AF_UNSPEC) {
  Message message(type, flags);
  auto* body = message.Body<ifinfomsg>();
  body->ifi_family = family;
  body->ifi_index = index;
  if (up) body->ifi_flags = body->ifi_change = IFF_UP;
  return message;
}

// libmnl's own loops rely on C's conversion from void*.
template <typename F>
void ForEachAttribute(const nlmsghdr* header, size_t body, F&& visit) {
  auto* attr = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(header, body));
  auto* tail = static_cast<const char*>(mnl_nlmsg_get_payload_tail(header));
  for (; mnl_attr_ok(attr, static_cast<int>(tail - reinterpret_cast<const char*>(attr))); attr = mnl_attr_next(attr)) {
    visit(attr);
  }
}

std::string KindOf(const nlattr* linkinfo) {
  auto* info = static_cast<const nlattr*>(mnl_attr_get_payload(linkinfo));
  auto* tail = static_cast<const char*>(mnl_attr_get_payload(linkinfo)) + mnl_attr_get_payload_len(linkinfo);
  for (; mnl_attr_ok(info, static_cast<int>(tail - reinterpret_cast<const char*>(info))); info = mnl_attr_next(info)) {
    if (mnl_attr_get_type(info) == IFLA_INFO_KIND) return mnl_attr_get_str(info);
  }
  return "";
}

Link ParseLink(const nlmsghdr* header) {
  const auto* body = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(header));
  Link link;
  link.index = body->ifi_index;
  ForEachAttribute(header, sizeof(ifinfomsg), [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case IFLA_IFNAME:
        link.name = mnl_attr_get_str(attr);
        break;
      case IFLA_MASTER:
        link.master = static_cast<int>(mnl_attr_get_u32(attr));
        break;
      case IFLA_MTU:
        link.mtu = static_cast<int>(mnl_attr_get_u32(attr));
        break;
      case IFLA_LINKINFO:
        link.kind = KindOf(attr);
        break;
      case IFLA_OPERSTATE:
        link.operational = mnl_attr_get_u8(attr) == IF_OPER_UP;
        break;
      default:
        break;
    }
  });
  return link;
}

}  // namespace

absl::StatusOr<RtNetlink> RtNetlink::Open() {
  RtNetlink rt(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!rt.socket_) return ErrnoError(errno, "open rtnetlink socket");
  if (mnl_socket_bind(rt.socket_.get(), 0, MNL_SOCKET_AUTOPID) < 0) return ErrnoError(errno, "bind rtnetlink socket");
  return rt;
}

absl::Status RtNetlink::Request(nlmsghdr* message, const std::function<void(const nlmsghdr*)>& on_answer) {
  message->nlmsg_seq = ++sequence_;
  message->nlmsg_flags |= NLM_F_ACK;
  if (mnl_socket_sendto(socket_.get(), message, message->nlmsg_len) < 0) return ErrnoError(errno, "rtnetlink send");
  unsigned port = mnl_socket_get_portid(socket_.get());
  auto callback = [](const nlmsghdr* header, void* data) {
    auto* handler = static_cast<const std::function<void(const nlmsghdr*)>*>(data);
    if (*handler) (*handler)(header);
    return MNL_CB_OK;
  };
  std::vector<char> buffer(32768);  // the size in which the kernel fills its dumps
  for (;;) {
    ssize_t n = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "rtnetlink receive");
    auto* handler = const_cast<std::function<void(const nlmsghdr*)>*>(&on_answer);
    int more = mnl_cb_run(buffer.data(), static_cast<size_t>(n), sequence_, port, callback, handler);
    if (more < 0) return ErrnoError(errno, "rtnetlink");
    if (more == MNL_CB_STOP) return absl::OkStatus();
  }
}

absl::StatusOr<Link> RtNetlink::Find(absl::string_view name) {
  Message message = LinkMessage(RTM_GETLINK, 0, 0, false);
  message.PutString(IFLA_IFNAME, name);
  Link link;
  RETURN_IF_ERROR(Request(message.header(), [&](const nlmsghdr* answer) { link = ParseLink(answer); }), "find link '",
                  name, "'");
  return link;
}

absl::StatusOr<std::vector<Link>> RtNetlink::Links() {
  Message message = LinkMessage(RTM_GETLINK, NLM_F_DUMP, 0, false);
  std::vector<Link> links;
  RETURN_IF_ERROR(Request(message.header(), [&](const nlmsghdr* answer) { links.push_back(ParseLink(answer)); }),
                  "list links");
  return links;
}

absl::StatusOr<std::vector<Route>> RtNetlink::Routes() {
  Message message(RTM_GETROUTE, NLM_F_DUMP);
  message.Body<rtmsg>()->rtm_family = AF_INET;
  std::vector<Route> routes;
  auto collect = [&](const nlmsghdr* answer) {
    const auto* body = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(answer));
    if (body->rtm_table != RT_TABLE_MAIN || body->rtm_type != RTN_UNICAST) return;
    Route route;
    route.prefix_length = body->rtm_dst_len;
    ForEachAttribute(answer, sizeof(rtmsg), [&](const nlattr* attr) {
      if (mnl_attr_get_type(attr) == RTA_DST) route.network.value = ntohl(mnl_attr_get_u32(attr));
      if (mnl_attr_get_type(attr) == RTA_OIF) route.link = static_cast<int>(mnl_attr_get_u32(attr));
    });
    routes.push_back(route);
  };
  RETURN_IF_ERROR(Request(message.header(), collect), "list routes");
  return routes;
}

absl::Status RtNetlink::AddBridge(absl::string_view name, const Mac& mac, int mtu) {
  Message message = LinkMessage(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, true);
  message.PutString(IFLA_IFNAME, name);
  message.PutU32(IFLA_MTU, static_cast<uint32_t>(mtu));
  message.Put(IFLA_ADDRESS, mac.data(), mac.size());
  message.Nest(IFLA_LINKINFO, [&] { message.PutString(IFLA_INFO_KIND, "bridge"); });
  return Annotate(Request(message.header()), absl::StrCat("make bridge '", name, "'"));
}

absl::Status RtNetlink::AddVeth(const VethSpec& spec) {
  Message message = LinkMessage(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, true);
  message.PutString(IFLA_IFNAME, spec.name);
  message.PutU32(IFLA_MTU, static_cast<uint32_t>(spec.mtu));
  message.PutU32(IFLA_MASTER, static_cast<uint32_t>(spec.bridge));
  message.Nest(IFLA_LINKINFO, [&] {
    message.PutString(IFLA_INFO_KIND, "veth");
    message.Nest(IFLA_INFO_DATA, [&] {
      message.Nest(VETH_INFO_PEER, [&] {
        message.Body<ifinfomsg>();  // not up: the kernel has not yet paired the two when it would open the peer
        message.PutString(IFLA_IFNAME, spec.peer_name);
        message.PutU32(IFLA_MTU, static_cast<uint32_t>(spec.mtu));
        message.Put(IFLA_ADDRESS, spec.peer_mac.data(), spec.peer_mac.size());
        message.PutU32(IFLA_NET_NS_FD, static_cast<uint32_t>(spec.peer_netns));
      });
    });
  });
  return Annotate(Request(message.header()), absl::StrCat("make veth '", spec.name, "'"));
}

absl::Status RtNetlink::SetMaster(int link, int bridge) {
  Message message = LinkMessage(RTM_SETLINK, 0, link, false);
  message.PutU32(IFLA_MASTER, static_cast<uint32_t>(bridge));
  return Annotate(Request(message.header()), "make a port of the bridge");
}

absl::Status RtNetlink::SetHairpin(int port) {
  Message message = LinkMessage(RTM_SETLINK, 0, port, false, AF_BRIDGE);
  message.Nest(IFLA_PROTINFO | NLA_F_NESTED, [&] { message.PutU8(IFLA_BRPORT_MODE, 1); });
  return Annotate(Request(message.header()), "set hairpin mode");
}

absl::Status RtNetlink::DisablePort(int port) {
  Message message = LinkMessage(RTM_SETLINK, 0, port, false, AF_BRIDGE);
  message.Nest(IFLA_PROTINFO | NLA_F_NESTED, [&] {
    message.PutU8(IFLA_BRPORT_STATE, BR_STATE_DISABLED);
    message.Put(IFLA_BRPORT_FLUSH, nullptr, 0);
  });
  return Annotate(Request(message.header()), "disable bridge port");
}

absl::Status RtNetlink::SetUp(int link) {
  Message message = LinkMessage(RTM_NEWLINK, 0, link, true);
  return Annotate(Request(message.header()), absl::StrCat("bring up link ", link));
}

absl::Status RtNetlink::WaitOperational(absl::string_view name) {
  for (int tries = 0; tries < 100; ++tries) {
    ASSIGN_OR_RETURN(Link link, Find(name));  // since Linux 6.8 the question itself runs the pending work
    if (link.operational) break;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return absl::OkStatus();
}

absl::Status RtNetlink::Delete(int link) {
  Message message = LinkMessage(RTM_DELLINK, 0, link, false);
  return Annotate(Request(message.header()), absl::StrCat("delete link ", link));
}

absl::Status RtNetlink::AddAddress(int link, Ipv4 ip, const Subnet& subnet) {
  Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  auto* body = message.Body<ifaddrmsg>();
  body->ifa_family = AF_INET;
  body->ifa_prefixlen = static_cast<unsigned char>(subnet.prefix_length());
  body->ifa_index = static_cast<unsigned>(link);
  message.PutIp(IFA_LOCAL, ip);
  message.PutIp(IFA_ADDRESS, ip);
  message.PutIp(IFA_BROADCAST, subnet.broadcast());
  return Annotate(Request(message.header()), absl::StrCat("add address ", FormatIpv4(ip)));
}

absl::Status RtNetlink::AddDefaultRoute(int link, Ipv4 gateway) {
  Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto* body = message.Body<rtmsg>();
  body->rtm_family = AF_INET;
  body->rtm_table = RT_TABLE_MAIN;
  body->rtm_protocol = RTPROT_STATIC;
  body->rtm_scope = RT_SCOPE_UNIVERSE;
  body->rtm_type = RTN_UNICAST;
  message.PutIp(RTA_GATEWAY, gateway);
  message.PutU32(RTA_OIF, static_cast<uint32_t>(link));
  return Annotate(Request(message.header()), absl::StrCat("add default route by ", FormatIpv4(gateway)));
}

}  // namespace berth::network
