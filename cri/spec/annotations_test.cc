#include "cri/spec/annotations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(AnnotationsTest, TheContainersClassThenThePods) {
  state::v1::PodSpec pod;
  state::v1::ContainerSpec container;
  container.set_name("web");
  EXPECT_EQ(ClassOf("rdt", container, pod).name, "");
  (*pod.mutable_annotations())["rdt.resources.beta.kubernetes.io/pod"] = "bronze";
  EXPECT_EQ(ClassOf("rdt", container, pod).name, "bronze");
  EXPECT_EQ(ClassOf("rdt", container, pod).annotation, "rdt.resources.beta.kubernetes.io/pod");
  EXPECT_EQ(ClassOf("blockio", container, pod).name, "");
  (*pod.mutable_annotations())["rdt.resources.beta.kubernetes.io/container.other"] = "none";
  (*pod.mutable_annotations())["rdt.resources.beta.kubernetes.io/container.web"] = "silver";
  EXPECT_EQ(ClassOf("rdt", container, pod).name, "silver");
  (*container.mutable_annotations())["io.kubernetes.cri.rdt-class"] = "gold";
  EXPECT_EQ(ClassOf("rdt", container, pod).name, "gold");
  EXPECT_EQ(ClassOf("rdt", container, pod).annotation, "io.kubernetes.cri.rdt-class");
}

TEST(AnnotationsTest, CdiDevicesOfFieldAndAnnotationsOnce) {
  state::v1::ContainerSpec container;
  container.add_cdi_devices("v.com/c=b");
  container.add_cdi_devices("v.com/c=b");
  (*container.mutable_annotations())["cdi.k8s.io/plugin_2"] = "v.com/c=d, v.com/c=b";
  (*container.mutable_annotations())["cdi.k8s.io/plugin_1"] = "v.com/c=a";
  (*container.mutable_annotations())["other"] = "v.com/c=z";
  auto devices = CdiDevicesOf(container);
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_THAT(*devices, ElementsAre("v.com/c=b", "v.com/c=a", "v.com/c=d"));
  (*container.mutable_annotations())["cdi.k8s.io/plugin_1"] = "v.com/c=a,";
  EXPECT_EQ(CdiDevicesOf(container).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(CdiDevicesOf(container).status().message()), HasSubstr("annotation cdi.k8s.io/plugin_1"));
  container.add_cdi_devices("gpu0");
  EXPECT_THAT(std::string(CdiDevicesOf(container).status().message()), HasSubstr("CDI_devices: 'gpu0'"));
}

}  // namespace
}  // namespace berth::spec
