#include "twofour/train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/base/testing_permissions.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder);
    fs::create_directories(folder);
  }

  fs::path folder =
      fs::path(testing::TempDir()) /
      (std::string("checkpoint.") + testing::UnitTest::GetInstance()->current_test_info()->name());
  fs::path path = folder / "checkpoint";
};

Checkpoint make_checkpoint() {
  Checkpoint checkpoint;
  TrainerState& state = checkpoint.state;
  state.stage = 2;
  state.stage_step = 17;
  state.step = 217;
  state.stage_pruned = true;
  state.position = {1, 33};
  state.scales = {0.1F, 1.0F / 3, 1e-30F};
  state.evaluated_step = 200;
  state.stale_evaluations = 1;
  state.best = {{"ndcg@10", 0.1 + 0.2}, {"pnr", std::numeric_limits<double>::infinity()}};
  state.best_step = 200;
  state.seconds = 12.5;
  state.training_seconds = 11.25;
  state.pairs = 4242;
  state.log_bytes = 99;
  checkpoint.tensors["parameters"]["a.weight"] = at::randn({3, 4}).requires_grad_();
  checkpoint.tensors["sparsity"]["mask.a.weight"] = at::randn({3, 4}) > 0;
  checkpoint.tensors["sparsity"]["regrowth_left"] = at::full({}, 7, at::kLong);
  checkpoint.fingerprint = {{"recipe", "name: x\n"}, {"model", "1234"}};
  checkpoint.progress = {"sparse", 3, 40};
  return checkpoint;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(CheckpointTest, ReadsBackExactly) {
  const Checkpoint saved = make_checkpoint();
  save_checkpoint(path, saved);
  const Checkpoint loaded = load_checkpoint(path);
  EXPECT_EQ(loaded.state.stage, 2);
  EXPECT_EQ(loaded.state.stage_step, 17);
  EXPECT_EQ(loaded.state.step, 217);
  EXPECT_TRUE(loaded.state.stage_pruned);
  EXPECT_FALSE(loaded.state.stage_started);
  EXPECT_EQ(loaded.state.position.epoch, 1);
  EXPECT_EQ(loaded.state.position.index, 33);
  EXPECT_EQ(loaded.state.scales, saved.state.scales);
  EXPECT_EQ(loaded.state.evaluated_step, 200);
  EXPECT_EQ(loaded.state.stale_evaluations, 1);
  EXPECT_EQ(loaded.state.best, saved.state.best);
  EXPECT_EQ(loaded.state.best_step, 200);
  EXPECT_EQ(loaded.state.seconds, 12.5);
  EXPECT_EQ(loaded.state.training_seconds, 11.25);
  EXPECT_EQ(loaded.state.pairs, 4242);
  EXPECT_EQ(loaded.state.log_bytes, 99);
  EXPECT_EQ(loaded.fingerprint, saved.fingerprint);
  for (const auto& [group, members] : saved.tensors) {
    for (const auto& [name, tensor] : members) {
      const at::Tensor other = loaded.tensors.at(group).at(name);
      EXPECT_EQ(other.scalar_type(), tensor.scalar_type());
      EXPECT_TRUE(at::equal(other, tensor)) << name;
    }
  }
}

TEST_F(CheckpointTest, FullDiskLeavesTheOneBefore) {
  Checkpoint checkpoint = make_checkpoint();
  save_checkpoint(path, checkpoint);
  checkpoint.state.step = 300;
  checkpoint.tensors["parameters"]["b.weight"] = at::zeros({100, 100});
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{20'000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = message_of([&] { save_checkpoint(path, checkpoint); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr(path.string()));
  EXPECT_THAT(message, EndsWith("File too large. Free space and run it again"));
  EXPECT_EQ(load_checkpoint(path).state.step, 217);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1) << "nothing is left beside it";
}

TEST_F(CheckpointTest, DamageIsNamed) {
  const std::string again = "remove " + path.string() +
                            " and run the same command with --resume: the run starts again and "
                            "replaces a model that is there.";
  const std::string remedy = ". Restore it from a copy, or " + again;
  save_checkpoint(path, make_checkpoint());
  const std::string whole = read_file(path / "state.json");
  write_file_atomically(path / "state.json", "{\"format\": 1}");
  EXPECT_THAT(message_of([&] { load_checkpoint(path); }),
              EndsWith("state.json] is damaged: key 'state' not found" + remedy));
  // Amid a text, which the parser would tell from its beginning.
  write_file_atomically(path / "state.json", whole.substr(0, whole.find("name: x") + 4));
  const std::string cut = message_of([&] { load_checkpoint(path); });
  EXPECT_THAT(cut, HasSubstr("state.json] is damaged: parse error at line "));
  EXPECT_THAT(cut, EndsWith("missing closing quote" + remedy));
  std::string state = whole;
  state.replace(state.find("\"inf\""), 5, "\"1.5x\"");
  write_file_atomically(path / "state.json", state);
  EXPECT_THAT(message_of([&] { load_checkpoint(path); }),
              HasSubstr("state.json] is damaged: pnr is '1.5x', not a number"));
  write_file_atomically(path / "state.json", "{\"format\": 99}");
  EXPECT_THAT(message_of([&] { load_checkpoint(path); }),
              EndsWith("state.json] is of another version of the training library. Resume with the "
                       "version that wrote it, or " +
                       again));
  fs::remove(path / "state.json");
  EXPECT_THAT(message_of([&] { load_checkpoint(path); }),
              EndsWith("state.json] is missing" + remedy));
}

TEST_F(CheckpointTest, StateSaysWhereTheRunIs) {
  save_checkpoint(path, make_checkpoint());
  const auto state = nlohmann::json::parse(read_file(path / "state.json"));
  EXPECT_EQ(state["progress"], (nlohmann::json{{"stage", "sparse"}, {"stages", 3}, {"steps", 40}}));
}

TEST_F(CheckpointTest, WhatCannotBeReadIsNotAdvisedAway) {
  save_checkpoint(path, make_checkpoint());
  fs::permissions(path / "tensors.safetensors", fs::perms::none);
  std::string message;
  bound_by_permissions([&] { message = message_of([&] { load_checkpoint(path); }); });
  EXPECT_THAT(message,
              EndsWith("tensors.safetensors] cannot be read: Permission denied. Change its "
                       "permissions, or name another"));
}

// Models may be fetched again, a checkpoint may not.
TEST_F(CheckpointTest, DamageOfTensorsIsNamed) {
  save_checkpoint(path, make_checkpoint());
  const fs::path file = path / "tensors.safetensors";
  const std::string remedy = ". Restore it from a copy, or remove " + path.string() +
                             " and run the same command with --resume: the run starts again and "
                             "replaces a model that is there.";
  const std::string whole = read_file(file);
  const auto refused = [&](const std::string& content) {
    write_file_atomically(file, content);
    return message_of([&] { load_checkpoint(path); });
  };
  for (const std::string& content :
       {std::string(), whole.substr(0, 100), whole.substr(0, whole.size() - 1),
        std::string(whole.size(), '\0')}) {
    const std::string message = refused(content);
    EXPECT_THAT(message, testing::StartsWith("[" + file.string()));
    EXPECT_THAT(message, EndsWith(remedy));
    EXPECT_THAT(message, testing::Not(HasSubstr("fetch")));
  }
  fs::remove(file);
  EXPECT_EQ(message_of([&] { load_checkpoint(path); }),
            "[" + file.string() + "] is missing" + remedy);
  EXPECT_EQ(refused(whole), "no error");
}

TEST(Fingerprint, SeesHowAModelPoolsAndReadsItsTexts) {
  const fs::path source = fs::path(TWOFOUR_SOURCE_DIR) / "tests/golden/minilm/model";
  const fs::path copy = fs::path(testing::TempDir()) / "fingerprint";
  const std::string before = hash_of(ModelDirectory::open(source));
  for (const char* name : {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json",
                           "special_tokens_map.json", "tokenizer_config.json"}) {
    fs::remove_all(copy);
    fs::copy(source, copy, fs::copy_options::recursive);
    EXPECT_EQ(hash_of(ModelDirectory::open(copy)), before);
    write_file_atomically(copy / name, read_file(copy / name) + "\n");
    EXPECT_NE(hash_of(ModelDirectory::open(copy)), before) << name;
  }
}

TEST(Fingerprint, NamesWhatDiffers) {
  const Fingerprint before = {{"recipe", "name: x\nseed: 1\n"}, {"model", "12"}, {"threads", "1"}};
  const auto refusal = [&](const std::string& name, const std::string& value,
                           const Sources& sources = {}) {
    Fingerprint now = before;
    now[name] = value;
    return message_of([&] { check_same(before, now, sources, "run"); });
  };
  EXPECT_EQ(refusal("model", "12"), "no error");
  EXPECT_THAT(
      refusal("recipe", "name: x\nseed: 2\n"),
      HasSubstr("[run] the run was started with another recipe: 'seed: 1' then, 'seed: 2' now"));
  EXPECT_THAT(refusal("recipe", "name: x\n"), HasSubstr("'seed: 1' then, '(nothing)' now"));
  EXPECT_THAT(refusal("threads", "2"), HasSubstr("started with another threads: 1 then, 2 now"));
  EXPECT_THAT(refusal("model", "13", {{"model", "m"}}),
              HasSubstr("[run] the run was started with another model than m holds now. Resume "
                        "with the model of the start"));
  EXPECT_THAT(refusal("teacher", "5", {{"teacher", "big"}}),
              HasSubstr("started with no teacher: now there is big"));
  EXPECT_THAT(message_of([&] {
                check_same({{"evaluation data", "7"}}, {}, {{"evaluation data", ""}}, "run");
              }),
              HasSubstr("started with evaluation data: now there is none"));
}

}  // namespace
}  // namespace twofour
