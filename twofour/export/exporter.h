// A model directory to an ONNX file.
#pragma once

#include "twofour/export/api.h"

namespace twofour {

ExportSummary run_export(const ExportRequest& request);

}  // namespace twofour
