// What confines processes on this host, as one part of the daemon's wiring.
#pragma once

#include <memory>

#include "runtime/security/apparmor.h"
#include "runtime/security/seccomp.h"
#include "runtime/security/selinux.h"

namespace berth::security {

// Its parts are thread-safe.
struct Confinement {
  bool has_seccomp = HasSeccomp();
  SeccompCache seccomp;
  std::unique_ptr<AppArmor> apparmor;
  std::unique_ptr<Selinux> selinux;
};

}  // namespace berth::security
