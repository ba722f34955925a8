// TensorRT as it lies in this process. The plug-in library is not linked to libnvinfer, whose file
// name and version the loading program chooses: functions are looked up when they are needed.
#pragma once

#include <string>

namespace twofour::tensorrt {

// A function of libnvinfer.so.<major> that is loaded already, in the global scope or in any other;
// null where there is none.
void* loaded_nvinfer_symbol(const char* name, int major);

// Through the logger of TensorRT's plug-ins, if the process has one.
void log_error(const std::string& message) noexcept;
void log_warning(const std::string& message) noexcept;

// Whether the loaded libnvinfer has the major version that this was compiled for; its interfaces
// differ between versions. False where none is loaded.
bool nvinfer_matches();

// "10.3.0" of 100300, "8.6.1" of 8601.
std::string version_text(int version);

}  // namespace twofour::tensorrt
