// Numbers as EROFS has them on disk.
#pragma once

#include <cstdint>
#include <string>

namespace berth::image::erofs {

inline void PutLittle(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}
inline void Put8(std::string& out, uint8_t value) { PutLittle(out, value, 1); }
inline void Put16(std::string& out, uint16_t value) { PutLittle(out, value, 2); }
inline void Put32(std::string& out, uint32_t value) { PutLittle(out, value, 4); }
inline void Put64(std::string& out, uint64_t value) { PutLittle(out, value, 8); }

}  // namespace berth::image::erofs
