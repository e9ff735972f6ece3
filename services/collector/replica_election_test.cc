#include "services/collector/replica_election.h"

#include <gtest/gtest.h>

namespace weir::collector {
namespace {

using Verdict = ReplicaElection::Verdict;

class ReplicaElectionTest : public ::testing::Test {
 protected:
  // One that sends, and of which something is admitted.
  Verdict Hear(std::string_view cluster, std::string_view replica, int second) {
    const absl::Time now = absl::FromUnixSeconds(1000 + second);
    const Verdict verdict = election_.Judge("tenant", cluster, replica, now);
    if (verdict != Verdict::kNotElected) election_.Heard("tenant", cluster, replica, now);
    return verdict;
  }
  ReplicaElection election_{{.failover_after = absl::Seconds(30), .max_cluster_count = 3}};
};

TEST_F(ReplicaElectionTest, TheFirstOneIsElectedAndTheOthersAreNot) {
  EXPECT_EQ(Hear("eu", "a", 0), Verdict::kElected);
  EXPECT_EQ(Hear("eu", "b", 1), Verdict::kNotElected);
  EXPECT_EQ(Hear("eu", "a", 20), Verdict::kElected);
  EXPECT_EQ(Hear("eu", "b", 45), Verdict::kNotElected) << "heard 25 seconds ago";
}

TEST_F(ReplicaElectionTest, AnotherTakesOverAfterSilenceAndKeepsIt) {
  EXPECT_EQ(Hear("eu", "a", 0), Verdict::kElected);
  EXPECT_EQ(Hear("eu", "b", 29), Verdict::kNotElected);
  EXPECT_EQ(Hear("eu", "b", 30), Verdict::kTakenOver);
  EXPECT_EQ(Hear("eu", "b", 31), Verdict::kElected);
  EXPECT_EQ(Hear("eu", "a", 32), Verdict::kNotElected);
  EXPECT_EQ(Hear("eu", "a", 61), Verdict::kTakenOver);
}

TEST_F(ReplicaElectionTest, OneWhoseSamplesAreAllRejectedIsSilent) {
  EXPECT_EQ(Hear("eu", "a", 0), Verdict::kElected);
  for (int second = 1; second < 30; ++second) {
    EXPECT_EQ(election_.Judge("tenant", "eu", "a", absl::FromUnixSeconds(1000 + second)),
              Verdict::kElected);
    EXPECT_EQ(Hear("eu", "b", second), Verdict::kNotElected);
  }
  EXPECT_EQ(Hear("eu", "b", 30), Verdict::kTakenOver);
  // What the other one still had under way does not bring it back.
  election_.Heard("tenant", "eu", "a", absl::FromUnixSeconds(1031));
  EXPECT_EQ(Hear("eu", "a", 31), Verdict::kNotElected);
}

TEST_F(ReplicaElectionTest, ASilenceOfAllChangesNothingForTheElectedOne) {
  EXPECT_EQ(Hear("eu", "a", 0), Verdict::kElected);
  EXPECT_EQ(Hear("eu", "a", 5000), Verdict::kElected);
}

TEST_F(ReplicaElectionTest, ClustersAndTenantsElectForThemselves) {
  EXPECT_EQ(Hear("eu", "a", 0), Verdict::kElected);
  EXPECT_EQ(Hear("us", "b", 0), Verdict::kElected);
  EXPECT_EQ(Hear("", "c", 0), Verdict::kElected);
  const absl::Time now = absl::FromUnixSeconds(1000);
  EXPECT_EQ(election_.Judge("other", "eu", "b", now), Verdict::kElected);
  EXPECT_EQ(Hear("us", "a", 1), Verdict::kNotElected);
}

TEST_F(ReplicaElectionTest, TheClusterHeardOfLongestAgoIsForgotten) {
  EXPECT_EQ(Hear("1", "a", 0), Verdict::kElected);
  EXPECT_EQ(Hear("2", "a", 1), Verdict::kElected);
  EXPECT_EQ(Hear("3", "a", 2), Verdict::kElected);
  EXPECT_EQ(Hear("1", "a", 3), Verdict::kElected);
  EXPECT_EQ(Hear("4", "a", 4), Verdict::kElected);
  EXPECT_EQ(election_.cluster_count(), 3u);
  EXPECT_EQ(Hear("1", "b", 5), Verdict::kNotElected);
  EXPECT_EQ(Hear("2", "b", 5), Verdict::kElected) << "forgotten";
}

TEST_F(ReplicaElectionTest, AClockSetBackDoesNotProlongASilence) {
  EXPECT_EQ(Hear("eu", "a", 3600), Verdict::kElected);
  EXPECT_EQ(Hear("eu", "b", 0), Verdict::kNotElected);
  EXPECT_EQ(Hear("eu", "b", 30), Verdict::kTakenOver);
}

}  // namespace
}  // namespace weir::collector
