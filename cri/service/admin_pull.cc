#include "absl/time/clock.h"
#include "cri/service/admin_calls.h"
#include "cri/service/convert.h"
#include "cri/service/credentials.h"
#include "cri/service/pull_report.h"

namespace berth::service {

absl::Status AdminCalls::PullWithProgress(const pod::CallContext& call, const admin::PullRequest& request,
                                          Writer<admin::PullProgress>& out) {
  if (request.image().empty()) return absl::InvalidArgumentError("image: is empty");
  RETURN_IF_ERROR(CheckRuntimeHandler(request.runtime_handler()));
  PullReport report(out, absl::Now());
  image::PullRequest pull;
  pull.reference = request.image();
  pull.credentials = ToCredentials(request.auth());
  pull.progress = [&report](const std::vector<image::LayerProgress>& layers) { report.Update(layers, absl::Now()); };
  pull.cancelled = [&] { return call.cancelled() || !report.heard(); };
  ASSIGN_OR_RETURN(image::Image image, images_.Pull(pull));
  report.Done(image.id.str());
  return absl::OkStatus();
}

}  // namespace berth::service
