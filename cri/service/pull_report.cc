#include "cri/service/pull_report.h"

#include <algorithm>
#include <utility>

namespace berth::service {
namespace {

constexpr absl::Duration kByteInterval = absl::Milliseconds(100);

admin::PullPhase PhaseOf(const image::LayerProgress& layer) {
  if (layer.unpacked || layer.already_there) return admin::PULL_PHASE_DONE;
  if (layer.done == 0) return admin::PULL_PHASE_WAITING;
  // Unpacking goes along with the transfer; what is left when all bytes are here is its end.
  return layer.done < layer.total ? admin::PULL_PHASE_DOWNLOADING : admin::PULL_PHASE_UNPACKING;
}

// Of the pull: that of the layer that is least far. When all layers are unpacked they are still to be made durable.
admin::PullPhase PhaseOf(const admin::PullProgress& progress) {
  if (progress.layers().empty()) return admin::PULL_PHASE_RESOLVING;
  for (const admin::LayerProgress& layer : progress.layers()) {
    if (layer.phase() < admin::PULL_PHASE_UNPACKING) return admin::PULL_PHASE_DOWNLOADING;
  }
  return admin::PULL_PHASE_UNPACKING;
}

bool SamePhases(const admin::PullProgress& a, const admin::PullProgress& b) {
  return a.phase() == b.phase() &&
         std::equal(a.layers().begin(), a.layers().end(), b.layers().begin(), b.layers().end(),
                    [](const auto& left, const auto& right) { return left.phase() == right.phase(); });
}

}  // namespace

PullReport::PullReport(Writer<admin::PullProgress>& out, absl::Time now) : out_(out) {
  state_.set_phase(admin::PULL_PHASE_RESOLVING);
  Send(now);
}

void PullReport::Update(const std::vector<image::LayerProgress>& layers, absl::Time now) {
  admin::PullProgress next;
  for (const image::LayerProgress& layer : layers) {
    admin::LayerProgress& out = *next.add_layers();
    out.set_digest(layer.digest);
    out.set_phase(PhaseOf(layer));
    out.set_bytes_done(out.phase() == admin::PULL_PHASE_DONE ? layer.total : layer.done);
    out.set_bytes_total(layer.total);
  }
  // A layer may begin anew; the pull as a whole does not go back.
  next.set_phase(std::max(PhaseOf(next), state_.phase()));
  if (SamePhases(next, state_) && now - sent_ < kByteInterval) return;
  state_ = std::move(next);
  Send(now);
}

void PullReport::Done(const std::string& image_id) {
  for (admin::LayerProgress& layer : *state_.mutable_layers()) {
    layer.set_phase(admin::PULL_PHASE_DONE);
    layer.set_bytes_done(layer.bytes_total());
  }
  state_.set_phase(admin::PULL_PHASE_DONE);
  state_.set_image_id(image_id);
  Send(sent_);
}

void PullReport::Send(absl::Time now) {
  sent_ = now;
  heard_ = heard_ && out_.Write(state_);
}

}  // namespace berth::service
