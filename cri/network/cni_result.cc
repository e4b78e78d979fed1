#include "cri/network/cni_result.h"

#include <arpa/inet.h>

#include "absl/strings/ascii.h"
#include "cri/network/cni_config.h"

namespace berth::network {
namespace {

// An error travels as a header of gRPC, and those have room for 8 KiB.
constexpr size_t kMostText = 1024;

absl::string_view Start(absl::string_view text) { return text.substr(0, kMostText); }

std::string OneLine(absl::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\n') {
      out += "; ";
    } else {
      out += absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? '?' : c;
    }
  }
  return out;
}

absl::StatusOr<std::string> WithoutPrefix(absl::string_view address) {
  std::string ip(address.substr(0, address.find('/')));
  unsigned char raw[sizeof(in6_addr)];
  if (inet_pton(AF_INET, ip.c_str(), raw) != 1 && inet_pton(AF_INET6, ip.c_str(), raw) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("'", Start(address), "' is not an address"));
  }
  return ip;
}

// Whether entry `ip` of "ips" is about the pod: its interface has a sandbox, or is not said.
bool IsInPod(const Json& result, const Json& ip) {
  auto index = ip.find("interface");
  auto interfaces = result.find("interfaces");
  if (index == ip.end() || !index->is_number_integer() || interfaces == result.end() || !interfaces->is_array()) {
    return true;
  }
  int64_t i = index->get<int64_t>();
  if (i < 0 || i >= static_cast<int64_t>(interfaces->size())) return true;
  const Json& interface = (*interfaces)[static_cast<size_t>(i)];
  if (!interface.is_object()) return true;
  auto sandbox = StringField(interface, "sandbox");
  return !sandbox.ok() || !sandbox->empty();
}

absl::Status AddIp(const Json& object, const char* key, PodAddresses* out) {
  ASSIGN_OR_RETURN(std::string address, StringField(object, key));
  ASSIGN_OR_RETURN(std::string ip, WithoutPrefix(address));
  out->ips.push_back(std::move(ip));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PodAddresses> AddressesOf(const Json& result) {
  if (!result.is_object()) return absl::InvalidArgumentError("a CNI result is an object");
  ASSIGN_OR_RETURN(std::string version, StringField(result, "cniVersion"));
  if (!version.empty() && !IsKnownVersion(version)) {
    return absl::InvalidArgumentError(absl::StrCat("field 'cniVersion': unknown version '", Start(version), "'"));
  }
  PodAddresses out;
  if (auto ips = result.find("ips"); ips != result.end() && !ips->is_null()) {
    if (!ips->is_array()) return absl::InvalidArgumentError("field 'ips': expected a list");
    for (const Json& ip : *ips) {
      if (!ip.is_object()) return absl::InvalidArgumentError("field 'ips': expected objects");
      if (IsInPod(result, ip)) RETURN_IF_ERROR(AddIp(ip, "address", &out), "field 'ips'");
    }
  }
  for (const char* old : {"ip4", "ip6"}) {
    auto ip = result.find(old);
    if (ip == result.end() || ip->is_null()) continue;
    if (!ip->is_object()) return absl::InvalidArgumentError(absl::StrCat("field '", old, "': expected an object"));
    RETURN_IF_ERROR(AddIp(*ip, "ip", &out), "field '", old, "'");
  }
  if (auto dns = result.find("dns"); dns != result.end() && dns->is_object()) {
    ASSIGN_OR_RETURN(out.dns_servers, StringListField(*dns, "nameservers"));
    ASSIGN_OR_RETURN(out.dns_searches, StringListField(*dns, "search"));
  }
  return out;
}

absl::Status PluginStatus(absl::string_view type, absl::string_view command, const sys::SpawnResult& result) {
  if (result.ok()) return absl::OkStatus();
  std::string message = absl::StrCat("CNI plugin ", type, " failed (", command, "): ");
  if (auto json = ParseJson(result.out); json.ok() && json->is_object() && json->contains("msg")) {
    auto code = IntField(*json, "code");
    auto msg = StringField(*json, "msg"), details = StringField(*json, "details");
    if (msg.ok() && !msg->empty()) {
      absl::StrAppend(&message, OneLine(Start(*msg)));
      if (details.ok() && !details->empty()) absl::StrAppend(&message, "; ", OneLine(Start(*details)));
      bool later = code.ok() && (*code == 11 || *code == 50 || *code == 51);
      return later ? absl::UnavailableError(message) : absl::InternalError(message);
    }
  }
  if (result.signal != 0) {
    absl::StrAppend(&message, "ended by signal ", result.signal);
  } else {
    absl::StrAppend(&message, "exit code ", result.exit_code);
  }
  absl::string_view said = absl::StripAsciiWhitespace(result.err.empty() ? result.out : result.err);
  if (said.size() > kMostText) said.remove_prefix(said.size() - kMostText);
  if (!said.empty()) absl::StrAppend(&message, ": ", OneLine(said));
  return absl::InternalError(message);
}

}  // namespace berth::network
