// The tables of images.db and how older ones become the present ones.
#pragma once

#include "image/catalog/sqlite.h"
#include "runtime/base/status.h"

namespace berth::image {

// Brings the database to the present version (PRAGMA user_version), one transaction for each step.
// FailedPrecondition: it is of a newer one.
absl::Status MigrateCatalog(const Database& db);

}  // namespace berth::image
