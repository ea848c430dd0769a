import Core
import Messaging
import Testing

@Suite struct WaitWatchTests {
  @Test func aStallIsToldOnceAfterSoManyLooks() {
    var detector = StallDetector(limit: 3)
    #expect(
      [5, 5, 5, 5, 5, 5].map { detector.look($0) } == [false, false, false, true, false, false])
    // Another wait in the same operation is not a stall.
    #expect([6, 6, 7, 7, 8].map { detector.look($0) } == Array(repeating: false, count: 5))
    #expect([8, 8, 8].map { detector.look($0) } == [false, false, true])
    // Whoever does not wait cannot wait too long.
    #expect([0, 0, 0, 0, 0].map { detector.look($0) } == Array(repeating: false, count: 5))
  }

  @Test func theLineSaysStepOperationAndWhoIsLate() {
    let watch = WaitWatch(rank: 2, size: 4)
    #expect(watch.line(seconds: 9) == nil)
    watch.setStep(41)
    watch.begin(.messages, 3)
    #expect(
      watch.line(seconds: 9)
        == "rank 2, step 41: has waited 9 s for messages: rank 3 has not arrived")
    watch.begin(.gradientExchange)
    watch.found(place: "bucket 1 of 5, section 0", missing: [0, 3])
    #expect(
      watch.line(seconds: 60)
        == "rank 2, step 41: has waited 60 s for the gradient exchange (bucket 1 of 5, section 0):"
        + " ranks 0, 3 have not arrived")
    // What was found out belongs to that wait.
    watch.begin(.gradientExchange)
    #expect(watch.line(seconds: 1)?.hasSuffix("who is late is not known") == true)
    watch.begin(.nodeBarrier, 0)
    #expect(watch.line(seconds: 1)?.hasSuffix("rank 0 has not arrived") == true)
    watch.end()
    #expect(watch.line(seconds: 9) == nil)
  }

  @Test func itsThreadEndsWhenItIsToldTo() throws {
    let watch = WaitWatch(rank: 0, size: 1)
    watch.stop()
    for _ in 0..<3 {
      try watch.start(limitSeconds: 1) { _, _ in }
      try watch.start(limitSeconds: 1) { _, _ in }
      watch.stop()
      watch.stop()
    }
  }
}
