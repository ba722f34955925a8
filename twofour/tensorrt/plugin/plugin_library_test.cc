// libtwofour_spmm_plugin.so as a program loads it, with a stand-in for libnvinfer.
#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/base/testing.h"

namespace twofour::tensorrt {
namespace {

template <class Function>
Function* symbol(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

// One process: TensorRT comes after the plug-in, and the registry is asked once.
TEST(PluginLibrary, RegistersOnceTensorRtIsThere) {
  void* plugin =
      dlopen((build_folder() / "lib/libtwofour_spmm_plugin.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(plugin, nullptr) << dlerror();
  auto* register_plugin = symbol<int()>(plugin, "twofour_register_spmm_plugin");
  ASSERT_NE(register_plugin, nullptr);
  EXPECT_EQ(register_plugin(), 0);

  void* nvinfer = dlopen((build_folder() / "lib/libtwofour_stand_in_nvinfer.so").c_str(),
                         RTLD_NOW | RTLD_GLOBAL);
  ASSERT_NE(nvinfer, nullptr) << dlerror();
  auto* set_version = symbol<void(int32_t)>(nvinfer, "stand_in_set_version");
  auto* creators = symbol<int32_t()>(nvinfer, "stand_in_creators");
  auto* messages = symbol<const char*()>(nvinfer, "stand_in_messages");
  set_version(70000);
  EXPECT_EQ(register_plugin(), 0);
  EXPECT_THAT(messages(), testing::HasSubstr("but 7.0.0 is loaded"));
  EXPECT_EQ(creators(), 0);

  set_version(NV_TENSORRT_VERSION);
  EXPECT_EQ(register_plugin(), 1);
  EXPECT_EQ(register_plugin(), 1);
  EXPECT_EQ(creators(), 1);
  auto* any = symbol<void*(int32_t)>(nvinfer, "stand_in_creator")(0);
#if NV_TENSORRT_MAJOR >= 10
  auto* creator = static_cast<nvinfer1::IPluginCreatorV3One*>(
      static_cast<nvinfer1::IPluginCreatorInterface*>(any));
#else
  auto* creator = static_cast<nvinfer1::IPluginCreator*>(any);
#endif
  EXPECT_STREQ(creator->getPluginName(), "SpmmPluginDynamic");
  EXPECT_EQ(creator->getFieldNames()->nbFields, 10);
}

}  // namespace
}  // namespace twofour::tensorrt
