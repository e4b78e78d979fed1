#include "cri/network/survey.h"

#include <fcntl.h>

#include <cerrno>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cri/network/cni_cache.h"
#include "cri/network/embedded_network.h"
#include "cri/network/lease.h"
#include "cri/network/nft_rules.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

constexpr size_t kMostOfFile = 4 << 20;

// The names in a directory that may be missing.
absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& path) {
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  if (ErrnoOf(dir.status()) == ENOENT) return std::vector<std::string>();
  RETURN_IF_ERROR(dir);
  return sys::ListDir(dir->get());
}

absl::Status SurveyLeases(const std::string& dir, std::vector<Trace>& out, std::set<std::string>& links,
                          std::set<std::string>& addresses) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, NamesIn(dir));
  for (const std::string& name : names) {
    absl::string_view pod = name;
    if (!absl::ConsumeSuffix(&pod, ".json") || absl::StartsWith(name, ".")) continue;
    Trace trace{Trace::Kind::kLease, absl::StrCat(dir, "/", name), std::string(pod), ""};
    auto text = sys::ReadFile(trace.name);
    if (ErrnoOf(text.status()) == ENOENT) continue;  // just given back
    auto lease = text.ok() ? ParseLease(*text) : absl::StatusOr<Lease>(text.status());
    if (lease.ok()) {
      links.insert(lease->link);
      addresses.insert(lease->ips.begin(), lease->ips.end());
      if (lease->pod.str() != pod) trace.problem = "field 'pod' is not the file's name";
    } else {
      trace.problem = std::string(lease.status().message());
    }
    out.push_back(std::move(trace));
  }
  return absl::OkStatus();
}

absl::Status SurveyLinks(const std::string& bridge, const std::set<std::string>& leased, std::vector<Trace>& out) {
  ASSIGN_OR_RETURN(RtNetlink rt, RtNetlink::Open());
  auto master = rt.Find(bridge);
  if (ErrnoOf(master.status()) == ENODEV) return absl::OkStatus();
  RETURN_IF_ERROR(master);
  ASSIGN_OR_RETURN(std::vector<Link> links, rt.Links());
  for (const Link& link : links) {
    absl::string_view pod = link.name;
    if (link.master != master->index || !absl::ConsumePrefix(&pod, kLinkPrefix)) continue;
    out.push_back({Trace::Kind::kLink, link.name, std::string(pod), leased.count(link.name) ? "" : "has no lease"});
  }
  return absl::OkStatus();
}

// Elements as nft prints them: "tcp . 8080 : 10.89.0.2 . 80", with the host's address in front in the other map.
void SurveyPorts(const std::string& bridge, const std::set<std::string>& addresses, std::vector<Trace>& out) {
  auto nft = Nft::Open();
  if (!nft.ok()) return;
  for (const char* map : {"any_address", "one_address"}) {
    auto text = nft->Run(absl::StrCat("list map ip ", TableName(bridge), " ", map, "\n"));
    if (!text.ok()) continue;  // no such table: nothing is published
    const size_t begin = text->find("elements = {");
    if (begin == std::string::npos) continue;
    const std::string list = text->substr(begin + 12, text->find('}', begin) - begin - 12);
    for (absl::string_view element : absl::StrSplit(list, ',')) {
      const std::vector<std::string> halves = absl::StrSplit(element, " : ");
      if (halves.size() != 2) continue;
      const std::vector<std::string> to = absl::StrSplit(halves[1], " . ");
      const std::string ip(absl::StripAsciiWhitespace(to[0]));
      if (addresses.count(ip)) continue;
      out.push_back({Trace::Kind::kPort, std::string(absl::StripAsciiWhitespace(element)), "", "has no lease"});
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<Trace>> SurveyEmbedded(const EmbeddedOptions& options) {
  std::vector<Trace> out;
  std::set<std::string> links, addresses;
  RETURN_IF_ERROR(SurveyLeases(options.state_dir, out, links, addresses), "leases");
  RETURN_IF_ERROR(SurveyLinks(options.bridge, links, out), "links of ", options.bridge);
  SurveyPorts(options.bridge, addresses, out);
  return out;
}

absl::StatusOr<std::vector<Trace>> SurveyCni(const CniOptions& options) {
  const std::string dir = CniCacheDir(options);
  std::vector<Trace> out;
  ASSIGN_OR_RETURN(std::vector<std::string> names, NamesIn(dir), "CNI results");
  for (const std::string& name : names) {
    if (absl::StartsWith(name, ".")) continue;
    Trace trace{Trace::Kind::kCniResult, absl::StrCat(dir, "/", name), name.substr(0, name.find('+')), ""};
    auto text = sys::ReadFile(trace.name, kMostOfFile);
    if (ErrnoOf(text.status()) == ENOENT) continue;
    absl::Status read = text.ok() ? ParseAttachment(*text).status() : text.status();
    trace.problem = std::string(read.message());
    out.push_back(std::move(trace));
  }
  return out;
}

}  // namespace berth::network
