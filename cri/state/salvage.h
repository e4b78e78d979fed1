// A database file that is damaged: what can be read of it goes into a new one, and the file is kept aside for whoever
// wants to look.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::state {

// Only the last of them are kept.
constexpr int kMostDamagedFiles = 4;

// Takes up what an earlier salvage of `path` did not finish. OK when there is nothing.
absl::Status FinishSalvage(const std::string& path);

// Puts a new database in the place of `path`, with the rows of the old one that can be read, and renames the old one,
// and its log, PATH.damaged-N. Nobody may have it open. May be killed at any instant, and lose its power:
// FinishSalvage, or a second call, goes on. Returns one line for each thing that happened or was lost, beginning with
// `why`.
absl::StatusOr<std::vector<std::string>> Salvage(const std::string& path, absl::string_view why);

}  // namespace berth::state
