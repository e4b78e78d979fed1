// Streams over a real server and channel in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>

#include "absl/synchronization/notification.h"
#include "berth/v1/berth.grpc.pb.h"
#include "cri/service/reactors.h"

namespace berth::service {
namespace {

namespace admin = ::berth::v1;
using grpc::CallbackServerContext;

class Service final : public admin::Admin::CallbackService {
 public:
  std::function<absl::Status(const pod::CallContext&, Writer<admin::SaveChunk>&)> save;
  std::function<absl::Status(const pod::CallContext&, Reader<admin::LoadChunk>&, admin::LoadResponse&)> load;

  grpc::ServerWriteReactor<admin::SaveChunk>* SaveImages(CallbackServerContext* context,
                                                         const admin::SaveRequest*) override {
    return ServerStreaming<admin::SaveChunk>(
        context, *pool, "SaveImages",
        [this](const pod::CallContext& call, Writer<admin::SaveChunk>& out) { return save(call, out); });
  }
  grpc::ServerReadReactor<admin::LoadChunk>* LoadImages(CallbackServerContext* context,
                                                        admin::LoadResponse* response) override {
    return ClientStreaming<admin::LoadChunk>(
        context, *pool, "LoadImages", [this, response](const pod::CallContext& call, Reader<admin::LoadChunk>& in) {
          return load(call, in, *response);
        });
  }

  std::unique_ptr<pod::WorkerPool> pool = std::make_unique<pod::WorkerPool>(4, 4);
};

class StreamsTest : public ::testing::Test {
 protected:
  void Serve() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = admin::Admin::NewStub(server_->InProcessChannel({}));
  }
  ~StreamsTest() override {
    if (server_) server_->Shutdown();
  }

  Service service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<admin::Admin::Stub> stub_;
};

admin::SaveChunk Chunk(const std::string& data) {
  admin::SaveChunk chunk;
  chunk.set_data(data);
  return chunk;
}

TEST_F(StreamsTest, WritesArriveInOrderAndThenTheStatus) {
  service_.save = [](const pod::CallContext&, Writer<admin::SaveChunk>& out) {
    for (int i = 0; i < 1000; ++i) {
      if (!out.Write(Chunk(std::to_string(i)))) return absl::AbortedError("nobody listens");
    }
    return absl::DataLossError("at the end");
  };
  Serve();
  grpc::ClientContext context;
  auto reader = stub_->SaveImages(&context, {});
  admin::SaveChunk chunk;
  int count = 0;
  while (reader->Read(&chunk)) EXPECT_EQ(chunk.data(), std::to_string(count++));
  EXPECT_EQ(count, 1000);
  grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(status.error_message(), "at the end");
}

TEST_F(StreamsTest, ASlowReaderSlowsTheWriter) {
  std::atomic<int> written = 0;
  service_.save = [&](const pod::CallContext&, Writer<admin::SaveChunk>& out) {
    const std::string megabyte(1 << 20, 'x');
    while (out.Write(Chunk(megabyte))) ++written;
    return absl::OkStatus();
  };
  Serve();
  grpc::ClientContext context;
  auto reader = stub_->SaveImages(&context, {});
  admin::SaveChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  // It stops by itself at what gRPC holds for one stream.
  int before = -1;
  while (before != written.load()) {
    before = written.load();
    absl::SleepFor(absl::Milliseconds(200));
  }
  EXPECT_LT(written.load(), 64);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamsTest, WhoHangsUpIsNoticed) {
  absl::Notification gone;
  service_.save = [&](const pod::CallContext& call, Writer<admin::SaveChunk>& out) {
    while (out.Write(Chunk("x"))) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_TRUE(call.cancelled());
    gone.Notify();
    return absl::OkStatus();
  };
  Serve();
  grpc::ClientContext context;
  auto reader = stub_->SaveImages(&context, {});
  admin::SaveChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  context.TryCancel();
  EXPECT_TRUE(gone.WaitForNotificationWithTimeout(absl::Seconds(20)));
  reader->Finish();
}

TEST_F(StreamsTest, ReadsArriveInOrder) {
  service_.load = [](const pod::CallContext&, Reader<admin::LoadChunk>& in, admin::LoadResponse& out) {
    admin::LoadChunk chunk;
    while (in.Read(&chunk)) out.add_images()->set_id(chunk.data());
    return absl::OkStatus();
  };
  Serve();
  grpc::ClientContext context;
  admin::LoadResponse response;
  auto writer = stub_->LoadImages(&context, &response);
  for (int i = 0; i < 1000; ++i) {
    admin::LoadChunk chunk;
    chunk.set_data(std::to_string(i));
    ASSERT_TRUE(writer->Write(chunk));
  }
  writer->WritesDone();
  EXPECT_TRUE(writer->Finish().ok());
  ASSERT_EQ(response.images_size(), 1000);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(response.images(i).id(), std::to_string(i));
}

TEST_F(StreamsTest, ARefusalEndsASenderWhoGoesOn) {
  service_.load = [](const pod::CallContext&, Reader<admin::LoadChunk>& in, admin::LoadResponse&) {
    admin::LoadChunk chunk;
    EXPECT_TRUE(in.Read(&chunk));
    return absl::InvalidArgumentError("not an archive");
  };
  Serve();
  grpc::ClientContext context;
  admin::LoadResponse response;
  auto writer = stub_->LoadImages(&context, &response);
  admin::LoadChunk chunk;
  chunk.set_data(std::string(1 << 20, 'x'));
  while (writer->Write(chunk)) continue;
  grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_EQ(status.error_message(), "not an archive");
}

TEST_F(StreamsTest, ASenderWhoHangsUpIsNoticed) {
  absl::Notification begun, gone;
  service_.load = [&](const pod::CallContext& call, Reader<admin::LoadChunk>& in, admin::LoadResponse&) {
    admin::LoadChunk chunk;
    while (in.Read(&chunk)) begun.Notify();
    EXPECT_TRUE(call.cancelled());
    gone.Notify();
    return absl::OkStatus();
  };
  Serve();
  grpc::ClientContext context;
  admin::LoadResponse response;
  auto writer = stub_->LoadImages(&context, &response);
  ASSERT_TRUE(writer->Write({}));
  ASSERT_TRUE(begun.WaitForNotificationWithTimeout(absl::Seconds(20)));
  context.TryCancel();
  EXPECT_TRUE(gone.WaitForNotificationWithTimeout(absl::Seconds(20)));
  writer->Finish();
}

TEST_F(StreamsTest, AFullPoolRefuses) {
  absl::Notification begun, enough;
  service_.load = [&](const pod::CallContext&, Reader<admin::LoadChunk>&, admin::LoadResponse&) {
    begun.Notify();
    enough.WaitForNotification();
    return absl::OkStatus();
  };
  service_.pool = std::make_unique<pod::WorkerPool>(1, 0);
  Serve();
  grpc::ClientContext first, second, third;
  admin::LoadResponse response;
  auto busy = stub_->LoadImages(&first, &response);
  ASSERT_TRUE(begun.WaitForNotificationWithTimeout(absl::Seconds(20)));
  admin::LoadResponse ignored;
  EXPECT_EQ(stub_->LoadImages(&second, &ignored)->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(stub_->SaveImages(&third, {})->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  enough.Notify();
  busy->Finish();
}

}  // namespace
}  // namespace berth::service
