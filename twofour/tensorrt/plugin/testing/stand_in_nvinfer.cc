// A libnvinfer that is no more than a plug-in registry and a logger.
#include <NvInferRuntime.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace nvinfer1;

#if NV_TENSORRT_MAJOR >= 10
using AnyCreator = IPluginCreatorInterface;
#else
using AnyCreator = IPluginCreator;
#endif

class Registry final : public IPluginRegistry {
 public:
  std::vector<AnyCreator*> creators;

#if NV_TENSORRT_MAJOR >= 10
  IPluginCreatorInterface* const* getAllCreators(int32_t* const) const noexcept override {
    return nullptr;
  }
  IPluginCreatorInterface* getCreator(const char* const, const char* const,
                                      const char* const) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const IPluginCreatorInterface&) noexcept override { return false; }
  IPluginResource* acquirePluginResource(const char*, IPluginResource*) noexcept override {
    return nullptr;
  }
  int32_t releasePluginResource(const char*) noexcept override { return 0; }
  bool registerCreator(IPluginCreatorInterface& creator, const char* const) noexcept override {
    creators.push_back(&creator);
    return true;
  }
#if NV_TENSORRT_MAJOR > 10 || NV_TENSORRT_MINOR >= 16
  IPluginCreatorInterface* const* getAllCreatorsRecursive(int32_t* const) noexcept override {
    return nullptr;
  }
#endif
#endif
#if NV_TENSORRT_MAJOR == 10
  bool registerCreator(IPluginCreator&, const char* const) noexcept override { return false; }
#endif
#if NV_TENSORRT_MAJOR < 10
  bool registerCreator(IPluginCreator& creator, const char* const) noexcept override {
    creators.push_back(&creator);
    return true;
  }
#endif
#if NV_TENSORRT_MAJOR <= 10
  IPluginCreator* const* getPluginCreatorList(int32_t* const) const noexcept override {
    return nullptr;
  }
  IPluginCreator* getPluginCreator(const char* const, const char* const,
                                   const char* const) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const IPluginCreator&) noexcept override { return false; }
#endif
  void setErrorRecorder(IErrorRecorder* const) noexcept override {}
  IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool const) override {}
  PluginLibraryHandle loadLibrary(const char*) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
};

class Logger final : public ILogger {
 public:
  std::string messages;
  void log(Severity, const char* message) noexcept override { (messages += message) += "\n"; }
};

Registry registry;
Logger logger;
int32_t version = NV_TENSORRT_VERSION;

}  // namespace

extern "C" {
__attribute__((visibility("default"))) IPluginRegistry* getPluginRegistry() noexcept {
  return &registry;
}
__attribute__((visibility("default"))) ILogger* getLogger() noexcept { return &logger; }
__attribute__((visibility("default"))) int32_t getInferLibVersion() noexcept { return version; }

// For the test.
__attribute__((visibility("default"))) void stand_in_set_version(int32_t other) { version = other; }
__attribute__((visibility("default"))) int32_t stand_in_creators() {
  return static_cast<int32_t>(registry.creators.size());
}
__attribute__((visibility("default"))) void* stand_in_creator(int32_t index) {
  return registry.creators[index];
}
__attribute__((visibility("default"))) const char* stand_in_messages() {
  return logger.messages.c_str();
}
}
