// The core, driven as TensorRT drives a plug-in.
#include "twofour/tensorrt/lifecycle.h"
#include "twofour/tensorrt/spmm_plugin_core.h"

namespace twofour::tensorrt {
namespace {

class DrivenCore final : public DrivenPlugin {
 public:
  explicit DrivenCore(SpmmPluginCore core) : core_(std::move(core)) {}

  std::unique_ptr<DrivenPlugin> clone() override { return std::make_unique<DrivenCore>(core_); }
  std::unique_ptr<DrivenPlugin> attach() override {
    return succeeds([&] { core_.attach(); }) ? clone() : nullptr;
  }
  Dimensions output_shape(const Dimensions& x) override {
    Dimensions shape;
    succeeds([&] { shape = core_.output_shape(x); });
    return shape;
  }
  bool supports(int position, TensorFormat x, TensorFormat y) override {
    return core_.supports(position, position == 0 ? x : y);
  }
  std::optional<DType> output_type(DType x) override {
    std::optional<DType> type;
    succeeds([&] { type = core_.output_type(x); });
    return type;
  }
  bool configure(const Dimensions&, const Dimensions& most) override {
    return succeeds([&] { core_.rows(most); });
  }
  size_t workspace_bytes(const Dimensions& most) override {
    return core_.workspace_bytes(core_.rows(most));
  }
  bool set_shape(const Dimensions& x) override {
    return succeeds([&] { core_.set_rows(core_.rows(x)); });
  }
  bool enqueue(const Dimensions& shape, const void* x, void* y, void* workspace,
               cuda::StreamHandle stream) override {
    return succeeds([&] { core_.enqueue(core_.rows(shape), x, y, workspace, stream); });
  }
  std::string serialize() override { return core_.serialize(); }

 private:
  template <class Action>
  static bool succeeds(Action action) {
    try {
      action();
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  SpmmPluginCore core_;
};

class CoreCreator final : public DrivenCreator {
 public:
  explicit CoreCreator(ResourcesSource source) : source_(std::move(source)) {}

  std::string key() const override {
    return std::string(spmm_node::kType) + "/" + spmm_node::kVersion + "/" + spmm_node::kNamespace;
  }
  std::vector<std::string> field_names() const override {
    std::vector<std::string> names;
    for (const FieldName& field : tensorrt::field_names()) names.emplace_back(field.name);
    return names;
  }
  std::unique_ptr<DrivenPlugin> create(const char* layer,
                                       const std::vector<PluginField>& fields) override {
    try {
      return std::make_unique<DrivenCore>(SpmmPluginCore(parse_fields(layer, fields), source_));
    } catch (const Error&) {
      return nullptr;
    }
  }
  std::unique_ptr<DrivenPlugin> deserialize(const std::string& bytes) override {
    try {
      return std::make_unique<DrivenCore>(SpmmPluginCore::deserialize(bytes, source_));
    } catch (const Error&) {
      return nullptr;
    }
  }

 private:
  ResourcesSource source_;
};

INSTANTIATE_TEST_SUITE_P(Core, LifecycleTest, testing::Values([](ResourcesSource source) {
                           return std::make_unique<CoreCreator>(std::move(source));
                         }));

}  // namespace
}  // namespace twofour::tensorrt
