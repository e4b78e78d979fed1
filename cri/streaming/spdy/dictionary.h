// The text that both sides of SPDY/3 start their header compression with. Source: draft 3.1, section 2.6.10.1.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace berth::streaming::spdy {

absl::string_view Dictionary();
inline constexpr uint32_t kDictionaryAdler32 = 0xe3c6a7c2;

}  // namespace berth::streaming::spdy
