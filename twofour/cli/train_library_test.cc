#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/train/api.h"

namespace twofour::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(TrainLibrary, AbsentLibraryIsNamedWithTheRemedy) {
  setenv("TWOFOUR_TRAIN_LIBRARY", "/nowhere/libtwofour_train.so", 1);
  EXPECT_THAT([] { train_api(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("tried /nowhere/libtwofour_train.so"),
                                         HasSubstr("TWOFOUR_TRAIN=ON"))));
}

TEST(TrainLibrary, FileThatIsNoLibraryIsRefused) {
  const auto path = scratch("train-library") / "libtwofour_train.so";
  spill(path, "not a library");
  setenv("TWOFOUR_TRAIN_LIBRARY", path.c_str(), 1);
  EXPECT_THAT([] { train_api(); },
              ThrowsMessage<Error>(AllOf(HasSubstr(path.string()), HasSubstr("cannot be loaded"))));
}

TEST(TrainLibrary, LibraryOfAnotherVersionIsRefused) {
  setenv("TWOFOUR_TRAIN_LIBRARY", (build_folder() / "lib/libtwofour_old_train.so").c_str(), 1);
  EXPECT_THAT([] { train_api(); },
              ThrowsMessage<Error>(HasSubstr("does not export twofour_train_api_v1")));
}

TEST(TrainLibrary, DoctorSaysWhyTrainingIsNotAvailable) {
  setenv("TWOFOUR_TRAIN_LIBRARY", "/nowhere/libtwofour_train.so", 1);
  const Outcome outcome = run_command({"doctor"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("for train, calibrate: not available: [libtwofour_train.so]"));
}

}  // namespace
}  // namespace twofour::cli
