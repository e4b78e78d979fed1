#include "cri/pod/sandbox_files.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_join.h"
#include "cri/spec/id_mapping.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::pod {
namespace {

bool OnHostNetwork(const state::v1::PodSpec& spec) { return spec.namespaces().network() == state::v1::NODE; }

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// The host's file, or nothing when it has none.
std::string HostFile(const char* path) {
  auto text = sys::ReadFile(path);
  return text.ok() ? *text : "";
}

struct Owner {
  uid_t uid;
  gid_t gid;
};

// Root of the pod, as the host numbers it.
Owner RootOf(const state::v1::PodSpec& spec) {
  return {spec::HostUid(spec, 0).value_or(0), spec::HostGid(spec, 0).value_or(0)};
}

// Readable by every user of the container.
absl::Status WriteFile(int dir, const char* name, absl::string_view text, Owner owner) {
  RETURN_IF_ERROR(sys::ReplaceFileAt(dir, name, text, 0644));
  if (fchownat(dir, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoError(errno, absl::StrCat("chown '", name, "'"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string FormatResolvConf(const state::v1::PodSpec& spec, absl::string_view host_resolv_conf) {
  const state::v1::Dns& dns = spec.dns();
  if (!spec.has_dns()) return std::string(host_resolv_conf);
  std::string out;
  if (dns.searches_size() > 0) absl::StrAppend(&out, "search ", absl::StrJoin(dns.searches(), " "), "\n");
  for (const std::string& server : dns.servers()) absl::StrAppend(&out, "nameserver ", server, "\n");
  if (dns.options_size() > 0) absl::StrAppend(&out, "options ", absl::StrJoin(dns.options(), " "), "\n");
  return out;
}

std::string FormatHosts(const state::v1::PodSpec& spec, absl::string_view hostname, const std::vector<std::string>& ips,
                        absl::string_view host_hosts) {
  if (OnHostNetwork(spec)) return std::string(host_hosts);
  std::string out =
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n"
      "fe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\n"
      "fe00::1\tip6-allnodes\n"
      "fe00::2\tip6-allrouters\n";
  for (const std::string& ip : ips) absl::StrAppend(&out, ip, "\t", hostname, "\n");
  return out;
}

std::string HostnameOf(const state::v1::PodSpec& spec, absl::string_view host_name) {
  if (!spec.hostname().empty()) return spec.hostname();
  return std::string(OnHostNetwork(spec) ? host_name : absl::string_view(spec.name()).substr(0, 63));
}

absl::Status WriteSandboxFiles(const std::string& dir_path, const state::v1::PodSpec& spec,
                               const std::vector<std::string>& ips) {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(dir_path, O_RDONLY | O_DIRECTORY));
  std::string hostname = HostnameOf(spec, HostName());
  const Owner root = RootOf(spec);
  RETURN_IF_ERROR(WriteFile(dir.get(), "hostname", hostname + "\n", root));
  RETURN_IF_ERROR(WriteFile(dir.get(), "hosts", FormatHosts(spec, hostname, ips, HostFile("/etc/hosts")), root));
  return WriteFile(dir.get(), "resolv.conf", FormatResolvConf(spec, HostFile("/etc/resolv.conf")), root);
}

absl::Status MountShm(const std::string& dir, uint64_t size, const state::v1::PodSpec& spec, const std::string& label) {
  std::string path = dir + "/shm";
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoError(errno, absl::StrCat("mkdir '", path, "'"));
  const Owner root = RootOf(spec);
  std::string options = absl::StrCat("mode=1777,size=", size, ",uid=", root.uid, ",gid=", root.gid);
  if (!label.empty()) absl::StrAppend(&options, ",context=\"", label, "\"");  // it may hold commas
  if (mount("shm", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) != 0) {
    return ErrnoError(errno, absl::StrCat("mount tmpfs '", path, "'"));
  }
  return absl::OkStatus();
}

absl::Status UnmountShm(const std::string& dir) { return sys::UnmountPath(dir + "/shm"); }

absl::Status PinNetns(int netns, const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(path, O_RDONLY | O_CREAT | O_EXCL, 0444));
  std::string source = absl::StrCat("/proc/self/fd/", netns);
  if (mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    int err = errno;
    unlink(path.c_str());
    return ErrnoError(err, absl::StrCat("bind network namespace to '", path, "'"));
  }
  return absl::OkStatus();
}

absl::Status UnpinNetns(const std::string& path) {
  RETURN_IF_ERROR(sys::UnmountPath(path));
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == EISDIR) return sys::RemoveTreeAt(AT_FDCWD, path);  // not ours, but where ours was
  return ErrnoError(errno, absl::StrCat("unlink '", path, "'"));
}

}  // namespace berth::pod
