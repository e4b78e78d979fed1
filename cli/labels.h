// Labels and annotations that tell pods and containers apart: kubelet's, so that other CRI clients
// show the same names, and the command line's own.
#pragma once

namespace berth::cli {

inline constexpr char kPodNameLabel[] = "io.kubernetes.pod.name";
inline constexpr char kPodNamespaceLabel[] = "io.kubernetes.pod.namespace";
inline constexpr char kPodUidLabel[] = "io.kubernetes.pod.uid";
inline constexpr char kContainerNameLabel[] = "io.kubernetes.container.name";

// Seconds; on pods and containers. `berth stop` waits as long.
inline constexpr char kGracePeriodAnnotation[] = "io.kubernetes.pod.terminationGracePeriod";
// On a container of spec.initContainers: "true".
inline constexpr char kInitAnnotation[] = "berth.cli/init";
// On pods made by `berth run`: directories that `berth rm` removes with the pod.
inline constexpr char kVolumesAnnotation[] = "berth.cli/volumes";
inline constexpr char kLogsAnnotation[] = "berth.cli/logs";

}  // namespace berth::cli
