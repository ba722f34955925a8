#include "twofour/cli/console.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "twofour/cli/format.h"
#include "twofour/cli/table.h"

namespace twofour::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Progress steps(int64_t done, double seconds) {
  Progress progress;
  progress.task = "sparse";
  progress.done = done;
  progress.total = 100;
  progress.unit = "steps";
  progress.seconds = seconds;
  progress.values = {{"loss", 0.5}};
  return progress;
}

TEST(Table, AlignsNumbersRightAndCountsCodePoints) {
  Table table({"<layer", "MB"});
  table.add_row({"zoë", "1.5"});
  table.add_row({"anna", "10.25"});
  std::ostringstream out;
  table.print(out);
  EXPECT_EQ(out.str(), "layer     MB\n-----  -----\nzoë      1.5\nanna   10.25\n");
}

TEST(Format, ReadsWell) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(87'300'000), "87.3 MB");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(3725), "1:02:05");
  EXPECT_EQ(format_signed_percent(-0.0123), "-1.2 %");
  EXPECT_EQ(counted(1, "row"), "1 row");
  EXPECT_EQ(counted(0, "row"), "0 rows");
  EXPECT_EQ(counted(2, "query"), "2 queries");
  EXPECT_EQ(format_signed_percent(INFINITY), "-");
  EXPECT_EQ(format_signed_percent(0.0123), "+1.2 %");
  EXPECT_EQ(format_signed(NAN, 2), "-");
  EXPECT_EQ(format_signed(-INFINITY, 2), "-inf");
  EXPECT_EQ(format_difference(INFINITY, 2), "+inf");
  EXPECT_EQ(format_percent_difference(-INFINITY), "-");
}

TEST(Format, ZeroHasNoSign) {
  for (const double zero : {0.0, -0.0}) {
    EXPECT_EQ(format_signed(zero, 2), "0.00");
    EXPECT_EQ(format_signed_percent(zero), "0.0 %");
    EXPECT_EQ(format_difference(zero, 4), "0.0000");
  }
  // The end of an interval lies on one side of 0, a difference that reads as 0 on none.
  EXPECT_EQ(format_signed_percent(-0.0003), "-0.0 %");
  EXPECT_EQ(format_signed(0.0003, 2), "+0.00");
  EXPECT_EQ(format_percent_difference(-0.0003), "0.0 %");
  EXPECT_EQ(format_difference(0.0003, 2), "0.00");
  EXPECT_EQ(format_difference(0.0103, 2), "+0.01");
}

TEST(ProgressLine, PlainLinesComeNowAndThen) {
  std::ostringstream out;
  ProgressLine line(out, false, 80);
  for (int i = 0; i <= 40; ++i) line.update(steps(i, i));
  EXPECT_EQ(out.str(),
            "sparse  15/100 steps  loss 0.5  1 steps/s  left 1:25\n"
            "sparse  30/100 steps  loss 0.5  1 steps/s  left 1:10\n");
  line.update(steps(100, 41));
  EXPECT_THAT(out.str(), HasSubstr("100/100 steps"));
}

TEST(ProgressLine, ResumedTaskIsTimedFromItsFirstStep) {
  std::ostringstream out;
  ProgressLine line(out, false, 80);
  line.update(steps(80, 0));
  line.update(steps(90, 20));
  EXPECT_THAT(out.str(), HasSubstr("90/100 steps  loss 0.5  0.5 steps/s  left 20 s"));
}

TEST(ProgressLine, TerminalLineIsRedrawnAndFits) {
  std::ostringstream out;
  ProgressLine line(out, true, 30);
  line.update(steps(50, 1));
  EXPECT_EQ(out.str(), "\r\033[Ksparse  [############........");
  line.clear();
  EXPECT_THAT(out.str(), ::testing::EndsWith("\r\033[K"));
}

TEST(Console, VerbosityDecidesWhatIsSaid) {
  std::istringstream in;
  std::ostringstream out, err;
  Console console({in, out, err});
  console.set_verbosity(Verbosity::kQuiet);
  console.info("hello");
  console.progress(steps(1, 1));
  EXPECT_EQ(err.str(), "");
  console.log(LogLevel::kWarning, "careful {}");
  EXPECT_THAT(err.str(), HasSubstr("warning: careful {}"));
  console.set_verbosity(Verbosity::kNormal);
  console.log(LogLevel::kDebug, "detail");
  console.info("hello");
  EXPECT_THAT(err.str(), Not(HasSubstr("detail")));
  EXPECT_THAT(err.str(), HasSubstr("hello"));
  console.set_verbosity(Verbosity::kVerbose);
  console.log(LogLevel::kDebug, "detail");
  EXPECT_THAT(err.str(), HasSubstr("detail"));
}

}  // namespace
}  // namespace twofour::cli
