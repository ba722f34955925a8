#include "twofour/io/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "twofour/base/testing.h"
#include "twofour/base/testing_permissions.h"
#include "twofour/io/posix_file.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FileTest : public FolderTest {
 protected:
  // Everything in the folder, hidden files too.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  void put(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name) << content;
  }
};

// No file may grow beyond `bytes` while this lives: what a full disk does, in the middle of a
// write.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : old_handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    rlimit limit = old_limit_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_;
  sighandler_t old_handler_;
};

TEST_F(FileTest, WritesAndReadsBytes) {
  const std::string content("a\0b\xff\n", 5);
  write_file_atomically(folder_ / "x", content);
  EXPECT_EQ(read_file(folder_ / "x"), content);
  write_file_atomically(folder_ / "x", "shorter");
  EXPECT_EQ(read_file(folder_ / "x"), "shorter");
  EXPECT_THAT(names(), ElementsAre("x"));
}

TEST_F(FileTest, WritesThroughAStreamInPiecesOfAllSizes) {
  std::string expected;
  write_file_atomically(folder_ / "x", [&](std::ostream& stream) {
    for (int i = 0; i < 300; ++i) {
      const std::string piece(i * i, static_cast<char>('a' + i % 26));
      stream << piece << '\n';
      expected += piece + "\n";
    }
  });
  EXPECT_EQ(read_file(folder_ / "x"), expected);
}

TEST_F(FileTest, MakesMissingParentFolders) {
  write_file_atomically(folder_ / "a" / "b" / "x", "1");
  EXPECT_EQ(read_file(folder_ / "a" / "b" / "x"), "1");
}

// Which cannot be opened, hence not be synced either.
TEST_F(FileTest, WritesIntoAFolderThatMayNotBeRead) {
  put("x", "old");
  const auto write = [&](fs::perms permissions) {
    std::string error;
    fs::permissions(folder_, permissions);
    bound_by_permissions(
        [&] { error = error_of([&] { write_file_atomically(folder_ / "x", "new"); }); });
    fs::permissions(folder_, fs::perms::owner_all);
    return error;
  };
  EXPECT_THAT(write(fs::perms::owner_read | fs::perms::owner_exec),
              HasSubstr("x] cannot be made: Permission denied"));
  EXPECT_EQ(read_file(folder_ / "x"), "old");
  EXPECT_EQ(write(fs::perms::owner_write | fs::perms::owner_exec), "no error");
  EXPECT_EQ(read_file(folder_ / "x"), "new");
}

TEST_F(FileTest, CompressesZst) {
  const std::string text = std::string(1 << 20, 'a') + "end";
  write_file_atomically(folder_ / "x.zst", text);
  EXPECT_LT(fs::file_size(folder_ / "x.zst"), 1000u);
  EXPECT_EQ(read_file(folder_ / "x.zst"), text);
  for (const size_t chunks : {1, 2, 3}) {  // as much as a call of the library gives at once
    const std::string whole(chunks * 131072, 'a');
    write_file_atomically(folder_ / "x.zst", whole);
    EXPECT_EQ(read_file(folder_ / "x.zst"), whole);
  }
  write_file_atomically(folder_ / "empty.zst", "");
  EXPECT_EQ(read_file(folder_ / "empty.zst"), "");
}

TEST_F(FileTest, ReadsSeveralZstFrames) {
  write_file_atomically(folder_ / "a.zst", "first ");
  write_file_atomically(folder_ / "b.zst", "second");
  std::ofstream joined(folder_ / "c.zst", std::ios::binary);
  joined << std::ifstream(folder_ / "a.zst").rdbuf() << std::ifstream(folder_ / "b.zst").rdbuf();
  joined.close();
  EXPECT_EQ(read_file(folder_ / "c.zst"), "first second");
}

TEST_F(FileTest, RefusesDamagedZst) {
  write_file_atomically(folder_ / "x.zst", "some text that is long enough to be cut");
  fs::resize_file(folder_ / "x.zst", fs::file_size(folder_ / "x.zst") - 3);
  EXPECT_THAT(error_of([&] { read_file(folder_ / "x.zst"); }), HasSubstr("truncated"));
  put("y.zst", "no zstd at all");
  EXPECT_THAT(error_of([&] { read_file(folder_ / "y.zst"); }),
              AllOf(HasSubstr("y.zst"), HasSubstr("damaged zstd data"),
                    HasSubstr(". Fetch or write the file again")));
  put("z.zst", "");
  EXPECT_THAT(error_of([&] { read_file(folder_ / "z.zst"); }), HasSubstr("truncated"));
}

TEST_F(FileTest, ReadingNamesFileAndCause) {
  EXPECT_THAT(error_of([&] { read_file(folder_ / "absent"); }),
              AllOf(HasSubstr("absent"), HasSubstr("No such file or directory. Check its name")));
  EXPECT_THAT(error_of([&] { read_file(folder_); }), HasSubstr("Is a directory. Name a file"));
}

TEST_F(FileTest, FullDiskLeavesTheOldFile) {
  put("x", "old");
  const std::string content(1 << 20, 'n');
  std::string error;
  {
    const FullDisk disk(100'000);
    error = error_of([&] { write_file_atomically(folder_ / "x", content); });
  }
  EXPECT_EQ(error, "[" + (folder_ / "x").string() +
                       "] cannot be written: File too large. Free space and run it again");
  EXPECT_EQ(read_file(folder_ / "x"), "old");
  EXPECT_THAT(names(), ElementsAre("x"));
}

TEST_F(FileTest, FullDiskShowsInBufferedWritesToo) {
  std::string error;
  {
    const FullDisk disk(1000);
    error = error_of([&] {
      write_file_atomically(folder_ / "x", [](std::ostream& stream) {
        for (int i = 0; i < 2000; ++i) stream << 'n';
      });
    });
  }
  EXPECT_THAT(error, HasSubstr("File too large"));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(FileTest, ExceptionOfTheWriterLeavesTheOldFile) {
  put("x", "old");
  const auto fail = [](std::ostream& stream) {
    stream << "half";
    throw std::runtime_error("no more data");
  };
  EXPECT_THAT(error_of([&] { write_file_atomically(folder_ / "x", fail); }),
              AllOf(HasSubstr("/x]"), HasSubstr("no more data")));
  EXPECT_EQ(read_file(folder_ / "x"), "old");
  EXPECT_THAT(names(), ElementsAre("x"));
}

TEST_F(FileTest, FilesThatBelongTogetherAreAllWrittenBeforeOneIsReplaced) {
  const auto write = [&](const std::string& second) {
    write_files_atomically({{folder_ / "a", [](std::ostream& stream) { stream << "new"; }},
                            {folder_ / "b", [&](std::ostream& stream) {
                               EXPECT_EQ(read_file(folder_ / "a"), "old");
                               stream << second;
                             }}});
  };
  put("a", "old");
  put("b", "old");
  {
    const FullDisk disk(1000);
    EXPECT_THAT(error_of([&] { write(std::string(2000, 'n')); }),
                HasSubstr("/b] cannot be written"));
  }
  EXPECT_EQ(read_file(folder_ / "a"), "old");
  EXPECT_EQ(read_file(folder_ / "b"), "old");
  EXPECT_THAT(names(), ElementsAre("a", "b"));
  write("new");
  EXPECT_EQ(read_file(folder_ / "a"), "new");
  EXPECT_EQ(read_file(folder_ / "b"), "new");
  EXPECT_THAT(names(), ElementsAre("a", "b"));
}

TEST_F(FileTest, ReplacesNeitherDevicesNorFolders) {
  EXPECT_THAT(error_of([] { write_file_atomically("/dev/null", "x"); }),
              HasSubstr("not a regular file"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THAT(error_of([&] { write_file_atomically(folder_, "x"); }),
              HasSubstr("not a regular file"));
  EXPECT_THAT(error_of([&] { write_file_atomically("/", "x"); }), HasSubstr("names no file"));
  EXPECT_THAT(error_of([&] { write_file_atomically("", "x"); }), HasSubstr("[path] is empty"));
}

TEST_F(FileTest, NextWriteRemovesWhatAKilledWriterLeft) {
  const pid_t child = fork();
  if (child == 0) {
    write_file_atomically(folder_ / "x", [](std::ostream& stream) {
      stream << "half" << std::flush;
      raise(SIGKILL);
    });
  }
  waitpid(child, nullptr, 0);
  ASSERT_EQ(names().size(), 1u);
  EXPECT_THAT(names()[0], HasSubstr("x.tmp."));
  put("x.tmp.notes", "the user's");
  put("x.tmp.00000000.999999999.00000000", "of a process of another machine");
  write_file_atomically(folder_ / "x", "whole");
  EXPECT_THAT(names(), ElementsAre("x", "x.tmp.00000000.999999999.00000000", "x.tmp.notes"));
}

TEST_F(FileTest, TemporariesBeginAsTold) {
  const std::string begin = temporaries_of(folder_ / "x").filename().string();
  write_file_atomically(folder_ / "x", [&](std::ostream&) {
    EXPECT_THAT(names(), ElementsAre(testing::StartsWith(begin)));
  });
  EXPECT_THAT(begin, testing::StartsWith("x.tmp."));
}

TEST_F(FileTest, DirectoryTakesThePlaceOfTheOldOne) {
  const fs::path target = folder_ / "model";
  write_directory_atomically(target,
                             [](const fs::path& path) { write_file_atomically(path / "a", "1"); });
  write_directory_atomically(
      target / "", [](const fs::path& path) { write_file_atomically(path / "nested" / "b", "2"); });
  EXPECT_EQ(read_file(target / "nested" / "b"), "2");
  EXPECT_FALSE(fs::exists(target / "a"));
  EXPECT_THAT(names(), ElementsAre("model"));
}

TEST_F(FileTest, FailedDirectoryLeavesTheOldOne) {
  const fs::path target = folder_ / "model";
  write_directory_atomically(target,
                             [](const fs::path& path) { write_file_atomically(path / "a", "1"); });
  std::string error;
  {
    const FullDisk disk(1000);
    error = error_of([&] {
      write_directory_atomically(target, [](const fs::path& path) {
        write_file_atomically(path / "small", "1");
        write_file_atomically(path / "large", std::string(2000, 'n'));
      });
    });
  }
  EXPECT_EQ(error, "[" + target.string() +
                       "] cannot be written: File too large. Free space and run it again");
  EXPECT_EQ(read_file(target / "a"), "1");
  EXPECT_FALSE(fs::exists(target / "small"));
  EXPECT_THAT(names(), ElementsAre("model"));
}

TEST_F(FileTest, DirectoryDoesNotReplaceAFile) {
  put("x", "old");
  EXPECT_THAT(error_of([&] { write_directory_atomically(folder_ / "x", [](const fs::path&) {}); }),
              HasSubstr("not a folder"));
  EXPECT_EQ(read_file(folder_ / "x"), "old");
}

TEST_F(FileTest, ReplacesWithoutExchange) {
  for (const char* name : {"fresh", "target"}) {
    fs::create_directory(folder_ / name);
    put(std::string(name) + "/which", name);
  }
  replace_directory(folder_ / "fresh", folder_ / "target", folder_ / "previous", false);
  EXPECT_EQ(read_file(folder_ / "target" / "which"), "fresh");
  EXPECT_THAT(names(), ElementsAre("target"));
}

TEST_F(FileTest, FailedReplacementWithoutExchangePutsTheOldFolderBack) {
  fs::create_directory(folder_ / "target");
  put("target/which", "old");
  EXPECT_THAT(error_of([&] {
                replace_directory(folder_ / "absent", folder_ / "target", folder_ / "previous",
                                  false);
              }),
              HasSubstr("No such file"));
  EXPECT_EQ(read_file(folder_ / "target" / "which"), "old");
  EXPECT_THAT(names(), ElementsAre("target"));
}

TEST_F(FileTest, NextWritePutsBackWhatAKillBetweenRenamesLeft) {
  fs::create_directory(folder_ / ".target.twofour-previous");
  put(".target.twofour-previous/which", "old");
  const auto fail = [](const fs::path&) { throw std::runtime_error("no"); };
  EXPECT_THAT(error_of([&] { write_directory_atomically(folder_ / "target", fail); }),
              HasSubstr("no"));
  EXPECT_EQ(read_file(folder_ / "target" / "which"), "old");
  EXPECT_THAT(names(), ElementsAre("target"));
}

}  // namespace
}  // namespace twofour
