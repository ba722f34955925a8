// The V2 and V3 adapters, driven through TensorRT's own interfaces.
#include "twofour/tensorrt/plugin/testing/driven_adapters.h"

namespace twofour::tensorrt {
namespace {

INSTANTIATE_TEST_SUITE_P(V2, LifecycleTest, testing::Values([](ResourcesSource source) {
                           return std::make_unique<DrivenCreatorV2>(std::move(source));
                         }));
#if NV_TENSORRT_MAJOR >= 10
INSTANTIATE_TEST_SUITE_P(V3, LifecycleTest, testing::Values([](ResourcesSource source) {
                           return std::make_unique<DrivenCreatorV3>(std::move(source));
                         }));

TEST(AdapterV3, AnEngineOfAnotherPluginIsRefused) {
  StandInGpu gpu;
  SpmmPluginCreatorV3 creator(gpu.source());
  const nvinfer1::PluginFieldCollection none{0, nullptr};
  EXPECT_EQ(creator.createPlugin("", &none, nvinfer1::TensorRTPhase::kRUNTIME), nullptr);
}
#endif

TEST(Adapters, AWorkspaceThatCannotBeComputedFailsTheBuild) {
  StandInGpu gpu;
  SpmmPluginCreatorV2 creator(gpu.source());
  const TestLayer layer;
  auto* plugin = static_cast<nvinfer1::IPluginV2DynamicExt*>(
      creator.createPlugin("layer.0", Collection(layer.fields()).get()));
  const auto in = to_desc({1, -1, 64}, {DType::kI8});
  EXPECT_EQ(plugin->getWorkspaceSize(&in, 1, nullptr, 0), kImpossibleWorkspace);
  plugin->destroy();
}

TEST(Adapters, VersionsAsText) {
  EXPECT_EQ(version_text(8601), "8.6.1");
  EXPECT_EQ(version_text(9300), "9.3.0");
  EXPECT_EQ(version_text(100300), "10.3.0");
  EXPECT_EQ(version_text(110100), "11.1.0");
}

}  // namespace
}  // namespace twofour::tensorrt
