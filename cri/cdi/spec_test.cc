#include "cri/cdi/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace berth::cdi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kFull[] = R"(
cdiVersion: "0.7.0"
kind: vendor.com/net.card
annotations: {made.by: hand}
containerEdits:
  env: [ALL=1]
devices:
  - name: "0"
    containerEdits:
      env: ["A=b=c"]
      deviceNodes:
        - {path: /dev/card0, hostPath: /dev/zero, type: c, major: 1, minor: 5, fileMode: 0640, permissions: rw, uid: 7, gid: 8}
        - {path: /dev/other, permissions: none}
      mounts:
        - {hostPath: /usr/lib/x.so, containerPath: /usr/lib/x.so, options: [ro, nosuid, nodev, rbind], type: none}
      additionalGids: [44, 0, 107]
      intelRdt: {closID: gold}
  - name: one
    containerEdits: {env: [B=c]}
)";

TEST(CdiSpecTest, EveryFieldOfYaml) {
  auto spec = ParseSpec("/etc/cdi/x.yaml", kFull);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->vendor, "vendor.com");
  EXPECT_EQ(spec->device_class, "net.card");
  EXPECT_THAT(spec->edits.env, ElementsAre("ALL=1"));
  ASSERT_EQ(spec->devices.size(), 2u);
  const Edits& edits = spec->devices.at("0");
  EXPECT_THAT(edits.env, ElementsAre("A=b=c"));
  ASSERT_EQ(edits.nodes.size(), 2u);
  const DeviceNode& node = edits.nodes[0];
  EXPECT_EQ(absl::StrCat(node.path, " ", node.host_path, " ", node.type == 'c', node.major, node.minor, " ",
                         node.permissions, *node.uid, *node.gid),
            "/dev/card0 /dev/zero 115 rw78");
  EXPECT_EQ(node.file_mode, 0640u);
  EXPECT_EQ(edits.nodes[1].permissions, "");
  EXPECT_EQ(edits.nodes[1].type, 0);
  ASSERT_EQ(edits.mounts.size(), 1u);
  EXPECT_THAT(edits.mounts[0].options, ElementsAre("ro", "nosuid", "nodev", "rbind"));
  EXPECT_THAT(edits.gids, ElementsAre(44, 107));
  EXPECT_EQ(edits.rdt_class, "gold");
  EXPECT_EQ(edits.unsupported, "");
}

TEST(CdiSpecTest, JsonIsReadAsJson) {
  auto spec = ParseSpec("x.json", R"({"cdiVersion":"0.3.0","kind":"v/c","devices":[{"name":"d","containerEdits":
      {"deviceNodes":[{"path":"/dev/x","fileMode":432}]}}]})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->devices.at("d").nodes[0].file_mode, 0660u);
  EXPECT_EQ(spec->devices.at("d").nodes[0].permissions, "rwm");
  EXPECT_FALSE(ParseSpec("x.json", "cdiVersion: \"0.3.0\"\n").ok());
}

std::string Text(absl::string_view version, absl::string_view kind, absl::string_view name, absl::string_view edits) {
  return absl::StrCat("cdiVersion: \"", version, "\"\nkind: ", kind, "\ndevices:\n- name: \"", name,
                      "\"\n  containerEdits: ", edits, "\n");
}

struct Bad {
  std::string text;
  const char* words;
};
class BadSpec : public testing::TestWithParam<Bad> {};

TEST_P(BadSpec, IsRefusedWithTheReason) {
  auto spec = ParseSpec("x.yaml", GetParam().text);
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << GetParam().text;
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr(GetParam().words)) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    All, BadSpec,
    testing::Values(
        Bad{"", "expected an object"}, Bad{"[1]", "expected an object"}, Bad{"a: [", "YAML line"},
        Bad{Text("0.2.0", "v/c", "d", "{env: [A=b]}"), "cdiVersion: '0.2.0' is not known"},
        Bad{Text("9.9.9", "v/c", "d", "{env: [A=b]}"), "cdiVersion"},
        Bad{Text("0.6.0", "v", "d", "{env: [A=b]}"), "the class's name"},
        Bad{Text("0.6.0", "0v/c", "d", "{env: [A=b]}"), "the vendor's name"},
        Bad{Text("0.6.0", "v-/c", "d", "{env: [A=b]}"), "the vendor's name"},
        Bad{Text("0.6.0", "v/c/d", "d", "{env: [A=b]}"), "the class's name"},
        Bad{Text("0.5.0", "v/c.d", "d", "{env: [A=b]}"), "0.5.0 has no class with a dot, which came with 0.6.0"},
        Bad{Text("0.4.0", "v/c", "0", "{env: [A=b]}"), "came with 0.5.0"},
        Bad{Text("0.6.0", "v/c", "d=e", "{env: [A=b]}"), "devices.name"},
        Bad{Text("0.6.0", "v/c", "", "{env: [A=b]}"), "devices.name"},
        Bad{Text("0.6.0", "v/c", "d", "{}"), "are empty"}, Bad{Text("0.6.0", "v/c", "d", ""), "no containerEdits"},
        Bad{Text("0.6.0", "v/c", "d", "{envs: [A=b]}"), "unknown field 'envs'"},
        Bad{Text("0.6.0", "v/c", "d", "{env: [AB]}"), "'AB' is not KEY=value"},
        Bad{Text("0.6.0", "v/c", "d", "{env: ['=b']}"), "KEY=value"},
        Bad{Text("0.6.0", "v/c", "d", "{env: A=b}"), "expected a list"},
        Bad{Text("0.6.0", "v/c", "d", "{deviceNodes: {}}"), "expected a list"},
        Bad{Text("0.6.0", "v/c", "d", "{deviceNodes: [{type: c}]}"), "path: '' is not absolute"},
        Bad{Text("0.6.0", "v/c", "d", "{deviceNodes: [{path: /d, type: x}]}"), "is not b, c, u or p"},
        Bad{Text("0.6.0", "v/c", "d", "{deviceNodes: [{path: /d, major: -1}]}"), "out of range"},
        Bad{Text("0.6.0", "v/c", "d", "{deviceNodes: [{path: /d, minor: 99999999999}]}"), "out of range"},
        Bad{Text("0.6.0", "v/c", "d", "{deviceNodes: [{path: /d, permissions: rx}]}"), "permissions"},
        Bad{Text("0.4.0", "v/c", "d", "{deviceNodes: [{path: /d, hostPath: /e}]}"), "came with 0.5.0"},
        Bad{Text("0.6.0", "v/c", "d", "{mounts: [{hostPath: /d}]}"), "containerPath: is empty"},
        Bad{Text("0.3.0", "v/c", "d", "{mounts: [{hostPath: /d, containerPath: /d, type: bind}]}"), "came with 0.4.0"},
        Bad{Text("0.6.0", "v/c", "d", "{additionalGids: [5]}"), "came with 0.7.0"},
        Bad{Text("0.7.0", "v/c", "d", "{additionalGids: [-5]}"), "out of range"},
        Bad{Text("0.6.0", "v/c", "d", "{intelRdt: {closID: x}}"), "came with 0.7.0"},
        Bad{Text("0.7.0", "v/c", "d", "{intelRdt: {closID: ../x}}"), "is not the name of a class"},
        Bad{Text("1.0.0", "v/c", "d", "{netDevices: [{hostInterfaceName: a, name: b}]}"), "came with 1.1.0"},
        Bad{Text("0.6.0", "v/c", "d", "{hooks: [{hookName: never, path: /x}]}"), "hookName"},
        Bad{Text("0.6.0", "v/c", "d", "{hooks: [{hookName: prestart}]}"), "path: is empty"},
        Bad{Text("0.6.0", "v/c", "d", "{env: [A=b]}") + "- name: d\n  containerEdits: {env: [A=b]}\n", "twice"},
        Bad{"cdiVersion: \"0.6.0\"\nkind: v/c\ndevices: []\n", "there is none"}));

TEST(CdiSpecTest, WhatBerthDoesNotDoIsNamed) {
  auto spec = ParseSpec("/x.yaml", Text("0.6.0", "v/c", "d", "{hooks: [{hookName: createContainer, path: /bin/x}]}"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->devices.at("d").unsupported, "hooks");
  spec = ParseSpec("/x.yaml", Text("1.1.0", "v/c", "d", "{netDevices: [{hostInterfaceName: a, name: b}]}"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->devices.at("d").unsupported, "netDevices");
  spec = ParseSpec("/x.yaml", Text("0.7.0", "v/c", "d", "{intelRdt: {closID: a, enableCMT: true}}"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->devices.at("d").unsupported, "intelRdt.enableCMT");
}

TEST(CdiSpecTest, DeviceNames) {
  for (const char* good : {"v/c=d", "vendor.com/gpu=0", "a.b-c_d/e.f-g=h:i.j-k_9"}) {
    auto name = ParseDeviceName(good);
    ASSERT_TRUE(name.ok()) << name.status();
    EXPECT_EQ(name->str(), good);
  }
  for (const char* bad :
       {"", "v", "v/c", "v/c=", "/c=d", "v/=d", "v=c/d", "v/c=d,e", "v/c=-d", "v/c=d/e", "v/c=d ", "v c/d=e"}) {
    EXPECT_EQ(ParseDeviceName(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

// Every beginning of a file, and every file with one byte changed, is an error or a spec, and never a crash.
TEST(CdiSpecTest, DamagedFilesAreOnlyErrors) {
  const std::string text = kFull;
  for (size_t i = 0; i < text.size(); i += 3) {
    (void)ParseSpec("x.yaml", text.substr(0, i));
    (void)ParseSpec("x.json", text.substr(0, i));
    for (char c : {'\0', '{', '\xff', ':'}) {
      std::string damaged = text;
      damaged[i] = c;
      (void)ParseSpec("x.yaml", damaged);
    }
  }
}

}  // namespace
}  // namespace berth::cdi
