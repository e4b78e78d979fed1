// state_story write DB SEED COUNT: opens a state store and changes it COUNT times, as a busy node does: records of pods
// and containers come, change and go. Prints "open", and a line for each change that was answered. state_story check DB
// SEED COUNT: opens what is left of it and prints after how many of these changes it is as it is found. An exit status
// of 1, and a line that says why, when there is no such number: a record is torn, a change is there without one before
// it, or damage was reported.
//
// What is changed follows from SEED alone.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "cri/state/state_store.h"

namespace berth {
namespace {

struct Change {
  state::Kind kind;
  std::string id;
  std::optional<std::string> data;  // absent = deleted
};

class Story {
 public:
  explicit Story(unsigned seed) : random_(seed) {}
  Change Next() {
    ++number_;
    const auto kind = random_() % 3 == 0 ? state::Kind::kPod : state::Kind::kContainer;
    std::string id = std::to_string(random_() % 60) + "-of-the-story";
    if (random_() % 4 == 0) return {kind, std::move(id), std::nullopt};
    const size_t size = 200 + random_() % (number_ % 20 == 0 ? 20000 : 3000);
    std::string data = id + " as of change " + std::to_string(number_) + ": ";
    while (data.size() < size) data += static_cast<char>(random_());
    return {kind, std::move(id), std::move(data)};
  }

 private:
  std::mt19937 random_;
  int number_ = 0;
};

int Write(state::StateStore& store, Story story, int count) {
  std::puts("open");
  for (int i = 1; i <= count; ++i) {
    const Change change = story.Next();
    const absl::Status s =
        change.data ? store.Put(change.kind, change.id, *change.data) : store.Delete(change.kind, change.id);
    if (!s.ok()) {
      std::fprintf(stderr, "change %d: %s\n", i, s.ToString().c_str());
      return 1;
    }
    std::printf("%d\n", i);
    std::fflush(stdout);
  }
  return 0;
}

int Check(state::StateStore& store, Story story, int count, bool damaged) {
  auto loaded = store.Load();
  if (!loaded.ok() || (!damaged && !loaded->damage.empty())) {
    std::printf("reported: %s\n", loaded.ok() ? loaded->damage[0].c_str() : loaded.status().ToString().c_str());
    return 1;
  }
  std::map<std::pair<state::Kind, std::string>, std::string> found, model;
  for (const state::Record& r : loaded->records) found[{r.kind, r.id}] = r.data;
  int last = found == model ? 0 : -1;  // the last of several: a deletion of what is not there changes nothing
  for (int i = 1; i <= count; ++i) {
    const Change change = story.Next();
    if (change.data) {
      model[{change.kind, change.id}] = *change.data;
    } else {
      model.erase({change.kind, change.id});
    }
    if (found == model) last = i;
  }
  if (last < 0) {
    std::printf("%zu records, which were never there together\n", found.size());
    return 1;
  }
  std::printf("%d\n", last);
  return damaged && last != count ? 1 : 0;
}

int Main(int argc, char** argv) {
  const std::string verb = argc == 5 ? argv[1] : "";
  if (verb != "write" && verb != "check" && verb != "salvage") {
    std::fprintf(stderr, "usage: state_story write|check|salvage DB SEED COUNT\n");
    return 2;
  }
  auto store = state::OpenSqliteStateStore(argv[2]);
  if (!store.ok()) {
    std::printf("not opened: %s\n", store.status().ToString().c_str());
    return 1;
  }
  const Story story(static_cast<unsigned>(atoi(argv[3])));
  const int count = atoi(argv[4]);
  return verb == "write" ? Write(**store, story, count) : Check(**store, story, count, verb == "salvage");
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) { return berth::Main(argc, argv); }
