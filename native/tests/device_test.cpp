// Devices by name, memory, tensors, samples: what they refuse, and what they keep.
#include "ghostbatch/device.h"

#include "common/memory.h"
#include "ghostbatch/engine.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

TEST(Device, IsMadeByName) {
  for (const char* name : {"reference", "cpu"}) {
    const auto device = make_device(name);
    EXPECT_STREQ(device->name(), name);
    EXPECT_GT(std::string(device->description()).size(), 10u);
    EXPECT_TRUE(device->supports(DataType::f32));
    EXPECT_FALSE(device->supports(DataType::u8));
    EXPECT_GT(device->available_bytes(), 0);
    EXPECT_NE(std::string(own(device->elementwise())->implementation()), "");
  }
  EXPECT_TRUE(make_device("reference")->supports(DataType::f64));
}

TEST(Device, SaysHowItComputesBfloat16) {
  const auto reference = make_device("reference"), cpu = make_device("cpu");
  EXPECT_STREQ(reference->precision_note(DataType::bf16), "");
  EXPECT_STREQ(cpu->precision_note(DataType::f32), "");
  EXPECT_NE(std::string(cpu->precision_note(DataType::f64)), "");
  EXPECT_NE(std::string(reference->precision_note(DataType::u8)), "");
  const std::string note = cpu->precision_note(DataType::bf16);
  // Where the test is run under oneDNN's limit, that is the CPU; see CMakeLists.txt.
  const char* const limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (limit != nullptr && std::string(limit) == "AVX512_CORE") {
    EXPECT_TRUE(cpu->supports(DataType::bf16));
    EXPECT_NE(note.find("emulated"), std::string::npos) << note;
    EXPECT_NE(note.find("(avx512_core)"), std::string::npos) << note;
  }
  if (limit != nullptr && std::string(limit) == "AVX2") {
    EXPECT_FALSE(cpu->supports(DataType::bf16));
  }
  if (cpu->supports(DataType::bf16)) return;
  EXPECT_EQ(note.find("bf16 needs AVX-512, this CPU has "), 0u) << note;
  ConvolutionSpec spec;
  spec.type = DataType::bf16;
  expect_error([&] { own(cpu->convolution(spec, true)); }, "AVX-512 for bf16, got ");
  if (limit != nullptr && std::string(limit) == "AVX2") {
    expect_error([&] { own(cpu->convolution(spec, true)); }, "[convolution] needs AVX-512 for bf16, got avx2");
    LinearSpec linear;
    linear.type = DataType::bf16;
    expect_error([&] { own(cpu->linear(linear, true)); }, "[linear] needs AVX-512 for bf16, got avx2");
    GemmSpec gemm;
    gemm.type = DataType::bf16;
    expect_error([&] { own(cpu->gemm(gemm)); }, "[gemm] needs AVX-512 for bf16, got avx2");
    EngineSpec engine;
    engine.type = DataType::bf16;
    const auto lanes = own(Lanes::create(1));
    const auto network = own(Network::create(2, 2, 1));
    network->convolution(
        "conv", 0,
        [] {
          ConvolutionSpec convolution;
          convolution.height = convolution.width = convolution.kernel_h = convolution.kernel_w = 2;
          return convolution;
        }(),
        0, -1);
    expect_error([&] { own(Engine::create(*cpu, *lanes, *network, engine)); },
                 "got bf16: bf16 needs AVX-512, this CPU has avx2");
  }
}

TEST(Device, NamesWhatItKnows) {
  const char* const known = 
      "cpu, reference, cuda or cuda:N, the last two perhaps with ,tf32 and then ,autotune, got ";
  for (const char* name : {"", "gpu", "CPU", "cpu ", "cpu:0", "reference:1", "cuda:", "cuda:-1", "cuda:x", "cuda:1x",
                           "cudax", "cuda:99999999999", ",tf32", "cpu,tf32", "cuda,tf3", "cuda:,tf32", "cpu,autotune",
                           "cuda,autotune,tf32", "cuda:,autotune"}) {
    expect_error([&] { make_device(name); }, std::string(known) + "\"" + name + "\"");
  }
  expect_error([&] { make_device(nullptr); }, std::string(known) + "null");
}

TEST(Device, SaysWhyThereIsNoCuda) {
  try {
    make_device("cuda");
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.substr(0, 13), "[cuda] needs ") << text;
    EXPECT_NE(text.find(", got "), std::string::npos) << text;
  }
}

TEST(Memory, IsAlignedZeroedAndRefusedWhereItCannotBe) {
  for (const char* name : {"reference", "cpu"}) {
    const auto device = make_device(name);
    for (const int64_t bytes : {int64_t{1}, int64_t{4097}, int64_t{1} << 21, (int64_t{5} << 20) + 3}) {
      auto* const data = static_cast<unsigned char*>(device->allocate(bytes));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % (1u << 21), 0u);
      for (int64_t i = 0; i < bytes; i += 511) ASSERT_EQ(data[i], 0);
      std::memset(data, 1, static_cast<size_t>(bytes));
      device->release(data, bytes);
    }
    for (const int64_t bytes : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
      expect_error([&] { device->allocate(bytes); }, "bytes in [1,");
    }
    expect_error([&] { device->allocate(int64_t{1} << 47); }, "[memory] needs 140737488355328 bytes, got ");
    device->release(nullptr, 0);
  }
  EXPECT_GT(available_memory(), 0);
}

TEST(Tensor, ConvertsAndCounts) {
  const auto device = make_device("reference");
  const int64_t before = Tensor::live_bytes();
  {
    const std::vector<double> values{0, 1, -2.5, 3.0000001, 1e-3};
    for (const auto& [type, tolerance] :
         {std::pair{DataType::f32, 1e-7}, {DataType::f64, 0.0}, {DataType::bf16, 4e-3}}) {
      const auto tensor = own(Tensor::create(*device, type, 7));
      EXPECT_EQ(tensor->elements(), 7);
      EXPECT_EQ(tensor->type(), type);
      EXPECT_EQ(Tensor::live_bytes(), before + 7 * size_of(type));
      std::vector<double> read(7, NAN);
      tensor->read_doubles(0, 7, read.data());
      expect_equal("fresh", read, std::vector<double>(7, 0.0));
      tensor->write_doubles(1, 5, values.data());
      tensor->read_doubles(1, 5, read.data());
      read.resize(5);
      expect_close("values", read, values, tolerance);
      std::vector<float> floats(5);
      tensor->read_floats(1, 5, floats.data());
      for (size_t i = 0; i < 5; ++i) EXPECT_EQ(floats[i], static_cast<float>(read[i]));
      tensor->write_floats(2, 5, floats.data());
      double moved = 0;
      tensor->read_doubles(6, 1, &moved);
      EXPECT_EQ(moved, static_cast<double>(floats[4]));
    }
    const auto bytes = own(Tensor::create(*device, DataType::u8, 3)),
               ints = own(Tensor::create(*device, DataType::s32, 3));
    const std::vector<int32_t> small{0, 255, 7}, large{-5, 256, 2147483647};
    std::vector<int32_t> read(3);
    bytes->write_ints(0, 3, small.data());
    bytes->read_ints(0, 3, read.data());
    EXPECT_EQ(read, small);
    ints->write_ints(0, 3, large.data());
    ints->read_ints(0, 3, read.data());
    EXPECT_EQ(read, large);
    expect_error([&] { bytes->write_ints(0, 3, large.data()); }, "values in [0, 255] for u8, got -5 at 0");
  }
  EXPECT_EQ(Tensor::live_bytes(), before);
}

TEST(Tensor, SlicesShareItsMemory) {
  const auto device = make_device("reference");
  for (const DataType type : {DataType::f32, DataType::f64, DataType::bf16}) {
    const auto tensor = own(Tensor::create(*device, type, 7));
    const View& slice = tensor->slice(2, 5);
    EXPECT_EQ(slice.data, tensor->view().as<char>() + 2 * size_of(type));
    EXPECT_EQ(slice.elements, 5);
    EXPECT_EQ(slice.type, type);
    const View* const kept = &slice;
    for (int64_t first = 0; first < 7; ++first) tensor->slice(first, 1);
    EXPECT_EQ(&tensor->slice(2, 5), kept);
    EXPECT_EQ(slice.elements, 5);
    expect_error([&] { tensor->slice(3, 5); }, "elements within [0, 7), got [3, 3 + 5)");
  }
}

TEST(Tensor, RefusesBadArguments) {
  const auto device = make_device("reference");
  expect_error([&] { own(Tensor::create(*device, DataType::f32, 0)); }, "elements in [1, 2^45]");
  expect_error([&] { own(Tensor::create(*device, DataType::f32, -1)); }, "elements in [1, 2^45]");
  expect_error([&] { own(Tensor::create(*device, DataType::f64, std::numeric_limits<int64_t>::max())); },
               "elements in");
  expect_error([&] { own(Tensor::create(*device, DataType::f64, int64_t{1} << 44)); }, "bytes free");
  expect_error([&] { own(Tensor::create(*device, static_cast<DataType>(9), 4)); }, "got type 9");
  const auto floats = own(Tensor::create(*device, DataType::f32, 4)),
             ints = own(Tensor::create(*device, DataType::s32, 4));
  float f[4] = {};
  int32_t i[4] = {};
  expect_error([&] { floats->write_floats(0, 5, f); }, "elements within [0, 4), got [0, 0 + 5)");
  expect_error([&] { floats->read_floats(-1, 2, f); }, "elements within [0, 4)");
  expect_error([&] { floats->read_floats(1, -1, f); }, "elements within [0, 4)");
  expect_error([&] { floats->read_floats(2, std::numeric_limits<int64_t>::max(), f); }, "elements within [0, 4)");
  expect_error([&] { floats->write_floats(0, 4, nullptr); }, "src, got null");
  expect_error([&] { floats->write_ints(0, 4, i); }, "u8 or s32 for integer copies, got f32");
  expect_error([&] { ints->read_floats(0, 4, f); }, "f32, f64 or bf16 for floating-point copies, got s32");
  floats->write_floats(4, 0, f);  // nothing, at the end
}

TEST(Samples, KeepRowsAndLabels) {
  const auto samples = own(Samples::create(DataType::u8, 5, 2, 3, 1, 4));
  EXPECT_EQ(samples->sample_elements(), 6);
  const std::vector<uint8_t> bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const std::vector<int32_t> labels{3, 0};
  samples->write_bytes(3, 2, bytes.data());
  samples->write_labels(3, 2, labels.data());
  EXPECT_EQ(std::memcmp(samples->row(4), bytes.data() + 6, 6), 0);
  EXPECT_EQ(static_cast<const uint8_t*>(samples->row(0))[0], 0);
  EXPECT_EQ(samples->label(3), 3);
  EXPECT_EQ(samples->label(0), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(samples->row(0)) % 64, 0u);

  const auto floats = own(Samples::create(DataType::f32, 2, 1, 1, 2, 1));
  const std::vector<float> values{0.5f, -1, 2, 3};
  floats->write_floats(0, 2, values.data());
  EXPECT_EQ(static_cast<const float*>(floats->row(1))[1], 3);
}

TEST(Samples, RefuseBadArguments) {
  const auto create = [](DataType type, int64_t count, int64_t height, int32_t classes, const char* part) {
    expect_error([&] { own(Samples::create(type, count, height, 3, 1, classes)); }, part);
  };
  create(DataType::f64, 5, 2, 4, "u8 or f32, got f64");
  create(DataType::u8, 0, 2, 4, "count in [1,");
  create(DataType::u8, 5, -2, 4, "height in [1,");
  create(DataType::u8, 5, 2, 0, "classes in [1,");
  create(DataType::u8, 2000000000, 2000000000, 4, "at most 2^48 elements");
  create(DataType::f32, 2000000000, 40000, 4, "bytes free");
  const auto samples = own(Samples::create(DataType::u8, 5, 2, 3, 1, 4));
  const uint8_t bytes[60] = {};
  const float floats[60] = {};
  const int32_t labels[] = {0, 1, 4, -1};
  expect_error([&] { samples->write_bytes(0, 6, bytes); }, "rows within [0, 5)");
  expect_error([&] { samples->write_bytes(-1, 1, bytes); }, "rows within [0, 5)");
  expect_error([&] { samples->write_bytes(5, std::numeric_limits<int64_t>::max(), bytes); }, "rows within [0, 5)");
  expect_error([&] { samples->write_bytes(0, 1, nullptr); }, "src, got null");
  expect_error([&] { samples->write_floats(0, 1, floats); }, "samples of f32 for floats, got u8");
  expect_error([&] { samples->write_labels(1, 3, labels); }, "labels in [0, 4), got 4 in row 3");
  expect_error([&] { samples->write_labels(0, 1, labels + 3); }, "got -1 in row 0");
  expect_error([&] { samples->write_labels(4, 2, labels); }, "rows within [0, 5)");
}

}  // namespace
}  // namespace ghostbatch::tests
