// Files that are never half-written, and reading with decompression.
#pragma once

#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

// Whether there is a file or folder. What may not be looked at is not taken for absent: Error with
// the system's reason.
bool is_there(const std::filesystem::path& path);

// Throws Error, with the remedy, if nothing can be made at `path`: for those who work long before
// they write.
void check_place(const std::filesystem::path& path);

// Whole file as bytes; *.zst is decompressed. Throws Error naming the file.
std::string read_file(const std::filesystem::path& path);

// Lets `write` fill a file beside `path`, syncs it and renames it over `path`; *.zst is compressed,
// missing parent folders are made. On failure (a full disk, an exception of `write`) `path` is as
// it was, nothing is left beside it, and Error names the file and the cause. What a killed process
// of this machine left beside `path` goes with the next write of it.
void write_file_atomically(const std::filesystem::path& path,
                           const std::function<void(std::ostream&)>& write);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

struct FileToWrite {
  std::filesystem::path path;
  std::function<void(std::ostream&)> write;
};

// The same for files that belong together: all are filled, in this order, before the first of them
// is renamed. Until then a failure leaves every path as it was; a kill between two renames leaves
// the later ones so.
void write_files_atomically(const std::vector<FileToWrite>& files);

// The same for a folder: `fill` gets an empty folder beside `path`, which then takes the place of
// `path`. Whatever the old folder held is gone then. Where the file system cannot exchange two
// folders in one step, a kill between two renames leaves the old folder beside `path`; the next
// write puts it back first.
void write_directory_atomically(const std::filesystem::path& path,
                                const std::function<void(const std::filesystem::path&)>& fill);

// What the names begin with that these two give to what this process writes beside `path`: a path
// without the end of its last part. For those who must clean up where no destructor runs.
std::filesystem::path temporaries_of(const std::filesystem::path& path);

// Puts back the folder that a kill between those two renames left beside `path`: for readers that
// come before the next write.
void recover_directory(const std::filesystem::path& path);

}  // namespace twofour
