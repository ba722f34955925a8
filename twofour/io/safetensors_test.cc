#include "twofour/io/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "twofour/base/testing.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string file_of(const std::string& header, size_t data_bytes, int64_t length = -1) {
  const uint64_t claimed = length < 0 ? header.size() : static_cast<uint64_t>(length);
  return std::string(reinterpret_cast<const char*>(&claimed), 8) + header +
         std::string(data_bytes, '\1');
}

// The error for a file with this header and as many bytes of data.
std::string header_error(const std::string& header, size_t data_bytes) {
  const std::string file = file_of(header, data_bytes);
  return error_of([&] { Safetensors::from_memory(bytes_of(file), "x.safetensors"); });
}

std::string entry(const char* name, const char* dtype, const char* shape, const char* offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape,
                     offsets);
}

std::string header(std::initializer_list<std::string> entries) {
  std::string text;
  for (const std::string& item : entries) text += (text.empty() ? "" : ",") + item;
  return "{" + text + "}";
}

Tensor floats(Shape shape, float first) {
  Tensor tensor(DType::kF32, std::move(shape));
  for (float& value : tensor.as<float>()) value = first++;
  return tensor;
}

class SafetensorsTest : public FolderTest {
 protected:
  // Two shards with one tensor each, and an index with the given weight_map.
  fs::path write_shards(const std::string& weight_map) const {
    const Tensor a = floats({2}, 1), b = floats({3}, 10);
    write_safetensors(folder_ / "one.safetensors", {{"a", a}});
    write_safetensors(folder_ / "two.safetensors", {{"b", b}});
    const fs::path index = folder_ / "model.safetensors.index.json";
    write_file_atomically(index,
                          R"({"metadata":{"total_size":20},"weight_map":)" + weight_map + "}");
    return index;
  }
  std::string shards_error(const std::string& weight_map) const {
    const fs::path index = write_shards(weight_map);
    return error_of([&] { Safetensors::open(index); });
  }
};

TEST_F(SafetensorsTest, RoundTrip) {
  const Tensor b = floats({2, 3}, 1), a = floats({4}, 10), scalar = floats({}, 7);
  const Tensor empty(DType::kF16, {0, 5});
  Tensor small(DType::kI8, {3});
  std::memcpy(small.data(), "abc", 3);
  const fs::path path = folder_ / "x.safetensors";
  write_safetensors(path, {{"b", b}, {"small", small}, {"a", a}, {"scalar", scalar}, {"e", empty}},
                    {{"format", "pt"}});

  const Safetensors read = Safetensors::open(path);
  EXPECT_THAT(read.names(), ElementsAre("a", "b", "e", "scalar", "small"));
  EXPECT_EQ(read.metadata().at("format"), "pt");
  EXPECT_EQ(read.file_bytes(), fs::file_size(path));
  EXPECT_EQ(read.get("b").shape, (Shape{2, 3}));
  EXPECT_THAT(read.get("b").as<float>(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(read.get("a").as<float>(), ElementsAre(10, 11, 12, 13));
  EXPECT_THAT(read.get("scalar").as<float>(), ElementsAre(7));
  EXPECT_EQ(read.get("small").dtype, DType::kI8);
  EXPECT_EQ(read.get("small").as<char>()[2], 'c');
  EXPECT_EQ(read.get("e").bytes(), 0u);
  EXPECT_TRUE(read.contains("a"));
  EXPECT_FALSE(read.contains("c"));
}

TEST_F(SafetensorsTest, WritesAlignedDataAndTheSameBytesInAnyOrder) {
  const Tensor a = floats({3}, 1), b = floats({5}, 2);
  Tensor c(DType::kI8, {3});
  std::memcpy(c.data(), "abc", 3);
  write_safetensors(folder_ / "x", {{"a", a}, {"b", b}, {"c", c}});
  write_safetensors(folder_ / "y", {{"c", c}, {"b", b}, {"a", a}});
  const std::string bytes = read_file(folder_ / "x");
  EXPECT_EQ(bytes, read_file(folder_ / "y"));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ((8 + length) % 64, 0u);
  const Safetensors read = Safetensors::open(folder_ / "x");
  for (const char* name : {"a", "b"}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read.get(name).data) % 4, 0u) << name;
  }
}

TEST_F(SafetensorsTest, ViewsOutliveTheOriginalAndTheFile) {
  const fs::path path = folder_ / "x.safetensors";
  write_safetensors(path, {{"a", floats({2}, 1)}});
  auto first = std::make_unique<Safetensors>(Safetensors::open(path));
  const Safetensors copy = *first;
  first.reset();
  write_safetensors(path, {{"a", floats({2}, 50)}});
  EXPECT_THAT(copy.get("a").as<float>(), ElementsAre(1, 2));
}

TEST_F(SafetensorsTest, WriterRefusesEqualNames) {
  const Tensor a = floats({1}, 1);
  const fs::path path = folder_ / "x";
  EXPECT_THAT(error_of([&] {
                write_safetensors(path, {{"a", a}, {"a", a}});
              }),
              AllOf(HasSubstr("/x]"), HasSubstr("[a] two tensors")));
  EXPECT_THAT(error_of([&] {
                write_safetensors(path, {{"__metadata__", a}});
              }),
              HasSubstr("two tensors"));
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(SafetensorsTest, MissingTensorNamesFileAndTensor) {
  const fs::path path = folder_ / "x.safetensors";
  write_safetensors(path, {{"a", floats({1}, 1)}});
  EXPECT_THAT(error_of([&] { Safetensors::open(path).get("b"); }),
              AllOf(HasSubstr("x.safetensors: b]"), HasSubstr("no such tensor")));
  EXPECT_THAT(error_of([&] { Safetensors().get("b"); }), HasSubstr("no such tensor"));
}

TEST_F(SafetensorsTest, EveryTruncationIsRefused) {
  const fs::path path = folder_ / "x.safetensors";
  write_safetensors(path, {{"a", floats({4}, 1)}, {"b", floats({2, 2}, 5)}});
  const std::string whole = read_file(path);
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    EXPECT_THAT(error_of([&] { Safetensors::from_memory(bytes_of(cut), "x"); }), HasSubstr("[x"))
        << size;
  }
  write_file_atomically(path, "");
  EXPECT_THAT(
      error_of([&] { Safetensors::open(path); }),
      HasSubstr("is too short for a safetensors file: its size is 0, expected 8 bytes or more"));
  EXPECT_THAT(error_of([&] { Safetensors::open(folder_); }), HasSubstr("not a regular file"));
  EXPECT_THAT(error_of([&] { Safetensors::open(folder_ / "no"); }), HasSubstr("No such file"));
}

TEST_F(SafetensorsTest, LyingHeaderLengths) {
  const auto error = [](int64_t length) {
    const std::string file = file_of("{}", 10, length);
    return error_of([&] { Safetensors::from_memory(bytes_of(file), "x"); });
  };
  EXPECT_THAT(error(100'000'001), HasSubstr("at most 100000000"));
  EXPECT_THAT(error(std::numeric_limits<int64_t>::max()), HasSubstr("at most 100000000"));
  EXPECT_THAT(error(13), HasSubstr("13 bytes is claimed, but the file has room for 12"));
  EXPECT_THAT(error(12), AllOf(HasSubstr("[x] the header of size 12 is no JSON: parse error at"),
                               EndsWith("The file is damaged or incomplete: fetch it again")));
  EXPECT_THAT(error(0), HasSubstr("the header of size 0 is no JSON"));
}

TEST_F(SafetensorsTest, HeadersThatAreNoTensors) {
  EXPECT_THAT(header_error("[]", 0), HasSubstr("no JSON object"));
  EXPECT_THAT(header_error("{\"a\":1}", 0), AllOf(HasSubstr(": a]"), HasSubstr("no object")));
  EXPECT_THAT(header_error("{\"a\xff\":1}", 0), HasSubstr("is no JSON"));
  EXPECT_THAT(header_error(std::string(1000, '['), 0), HasSubstr("nested deeper"));
  EXPECT_THAT(header_error(R"({"__metadata__":{"a":1}})", 0), HasSubstr("\"a\" is no string"));
  EXPECT_THAT(header_error(R"({"__metadata__":[]})", 0), HasSubstr("__metadata__ is no object"));
  EXPECT_THAT(header_error(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("\"dtype\" is missing"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4),
              HasSubstr("\"shape\" is missing"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1]}})", 4),
              HasSubstr("\"data_offsets\" is missing"));
}

TEST_F(SafetensorsTest, DuplicateKeys) {
  EXPECT_THAT(
      header_error(header({entry("a", "F32", "[1]", "[0,4]"), entry("a", "F32", "[1]", "[4,8]")}),
                   8),
      HasSubstr("\"a\" stands twice"));
  EXPECT_THAT(
      header_error(R"({"a":{"dtype":"F32","dtype":"I8","shape":[1],"data_offsets":[0,4]}})", 4),
      HasSubstr("\"dtype\" stands twice"));
}

TEST_F(SafetensorsTest, TypesAndShapes) {
  const auto error = [](const char* dtype, const char* shape, const char* offsets) {
    return header_error(header({entry("a", dtype, shape, offsets)}), 4);
  };
  EXPECT_THAT(error("F31", "[1]", "[0,4]"), HasSubstr("\"F31\" is not supported"));
  EXPECT_THAT(error("F32", "1", "[0,4]"), HasSubstr("shape is no list"));
  EXPECT_THAT(error("F32", "[-1]", "[0,4]"), HasSubstr("found -1"));
  EXPECT_THAT(error("F32", "[1.5]", "[0,4]"), HasSubstr("found 1.5"));
  EXPECT_THAT(error("F32", "[\"1\"]", "[0,4]"), HasSubstr("found string"));
  EXPECT_THAT(error("F32", "[18446744073709551615]", "[0,4]"), HasSubstr("18446744073709551615"));
  EXPECT_THAT(error("F32", "[4611686018427387904]", "[0,4]"), HasSubstr("more elements than"));
  EXPECT_THAT(error("I8", "[4294967296,4294967296]", "[0,0]"), HasSubstr("more elements than"));
  EXPECT_THAT(error("I8", "[4294967296,4294967296,0]", "[0,0]"), HasSubstr("more elements than"));
  EXPECT_THAT(error("F32", "[2]", "[0,4]"),
              HasSubstr("the size of F32 [2] in bytes is 8, but data_offsets span 4"));
  EXPECT_THAT(error("F32", "[1]", "[0]"), HasSubstr("no two numbers"));
  EXPECT_THAT(error("F32", "[1]", "[4,0]"), HasSubstr("data_offsets[1]"));
  EXPECT_THAT(error("F32", "[1]", "[-4,0]"), HasSubstr("data_offsets[0]"));
}

TEST_F(SafetensorsTest, Layouts) {
  const auto two = [](const char* a, const char* b, size_t data) {
    return header_error(header({entry("a", "F32", "[1]", a), entry("b", "F32", "[1]", b)}), data);
  };
  EXPECT_EQ(two("[4,8]", "[0,4]", 8), "no error");
  EXPECT_THAT(two("[0,4]", "[2,6]", 6), AllOf(HasSubstr(": b]"), HasSubstr("overlap")));
  EXPECT_THAT(two("[0,4]", "[0,4]", 4), HasSubstr("overlap"));
  EXPECT_THAT(two("[0,4]", "[5,9]", 9), HasSubstr("leave a gap"));
  EXPECT_THAT(two("[4,8]", "[8,12]", 12), HasSubstr("leave a gap"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 7),
              HasSubstr("data ends at 8, but what the file holds ends at 7"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 9),
              HasSubstr("the last tensor ends at 8, but what the file holds ends at 9"));
}

TEST_F(SafetensorsTest, Shards) {
  const Safetensors read =
      Safetensors::open(write_shards(R"({"a":"one.safetensors","b":"two.safetensors"})"));
  EXPECT_THAT(read.names(), ElementsAre("a", "b"));
  EXPECT_THAT(read.get("a").as<float>(), ElementsAre(1, 2));
  EXPECT_THAT(read.get("b").as<float>(), ElementsAre(10, 11, 12));
  EXPECT_EQ(read.where("b"), (folder_ / "two.safetensors").string() + ": b");
  EXPECT_EQ(read.where("c"), (folder_ / "model.safetensors.index.json").string() + ": c");
  EXPECT_EQ(read.file_bytes(), fs::file_size(folder_ / "one.safetensors") +
                                   fs::file_size(folder_ / "two.safetensors"));
}

TEST_F(SafetensorsTest, IndexAndShardsMustAgree) {
  EXPECT_THAT(
      shards_error(R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})"),
      AllOf(HasSubstr("two.safetensors: c]"), HasSubstr("no such tensor")));
  write_safetensors(folder_ / "more.safetensors", {{"a", floats({2}, 1)}, {"z", floats({2}, 1)}});
  EXPECT_THAT(shards_error(R"({"a":"more.safetensors","b":"two.safetensors"})"),
              AllOf(HasSubstr("index.json: z]"), HasSubstr("more.safetensors holds it")));
  EXPECT_THAT(shards_error(R"({"a":"one.safetensors","b":"three.safetensors"})"),
              AllOf(HasSubstr("three.safetensors"), HasSubstr("No such file")));
}

TEST_F(SafetensorsTest, ShardsStayInTheFolder) {
  for (const char* name : {"../one.safetensors", "/etc/passwd", "..", "", "a\\\\b"}) {
    EXPECT_THAT(shards_error(fmt::format(R"({{"a":"{}"}})", name)),
                HasSubstr("not the name of a file beside the index"))
        << name;
  }
  // An index that names itself is read as a tensor file, once.
  EXPECT_THAT(shards_error(R"({"a":"model.safetensors.index.json"})"), HasSubstr("is claimed"));
}

TEST_F(SafetensorsTest, DamagedIndexes) {
  EXPECT_THAT(shards_error("1"), HasSubstr("\"weight_map\" is missing"));
  EXPECT_THAT(shards_error(R"({"a":1})"), HasSubstr("no string"));
  EXPECT_THAT(shards_error(R"({"a":"one.safetensors","a":"two.safetensors"})"),
              HasSubstr("stands twice"));
  EXPECT_THAT(shards_error("{"), HasSubstr("damaged JSON"));
}

}  // namespace
}  // namespace twofour
