import Optimizers
import Testing

@Suite struct LearningRateScheduleTests {
  private func expectClose(_ value: Double, _ golden: Double, relative: Double = 1e-6) {
    #expect(abs(value - golden) <= relative * abs(golden), "\(value) is not \(golden)")
  }

  @Test(arguments: [
    (512, 1, 1.746928e-7), (512, 4_000, 6.987712e-4), (512, 100_000, 1.397542e-4),
    (1_024, 4_000, 4.941059e-4),
  ])
  func noamHasThePapersValues(dimension: Int, step: Int, golden: Double) {
    let schedule = LearningRateSchedule.noam(
      dimension: dimension, warmupSteps: 4_000, factor: 1)
    expectClose(schedule.rate(step: step), golden)
    let doubled = LearningRateSchedule.noam(
      dimension: dimension, warmupSteps: 4_000, factor: 2)
    #expect(doubled.rate(step: step) == 2 * schedule.rate(step: step))
  }

  @Test func inverseSquareRootIsNoamWithItsPeakNamed() {
    let noam = LearningRateSchedule.noam(dimension: 512, warmupSteps: 4_000, factor: 1)
    let named = LearningRateSchedule.inverseSquareRoot(
      peak: noam.rate(step: 4_000), warmupSteps: 4_000)
    for step in [1, 2, 3_999, 4_000, 4_001, 16_000, 100_000] {
      expectClose(named.rate(step: step), noam.rate(step: step), relative: 1e-12)
    }
    #expect(named.rate(step: 16_000) == named.rate(step: 4_000) / 2)
  }

  @Test func linearFallsToItsFinalValueAndStays() {
    let schedule = LearningRateSchedule.linear(
      peak: 8, warmupSteps: 4, totalSteps: 12, final: 2)
    #expect([1, 2, 3, 4].map(schedule.rate(step:)) == [2, 4, 6, 8])
    #expect([6, 8, 10, 12, 13, 1_000].map(schedule.rate(step:)) == [6.5, 5, 3.5, 2, 2, 2])
  }

  @Test func cosineIsHalfWayInTheMiddle() {
    let schedule = LearningRateSchedule.cosine(
      peak: 8, warmupSteps: 4, totalSteps: 16, final: 2)
    #expect([1, 2, 3, 4].map(schedule.rate(step:)) == [2, 4, 6, 8])
    expectClose(schedule.rate(step: 10), 5, relative: 1e-15)
    // cos 60 degrees.
    expectClose(schedule.rate(step: 8), 2 + 6 * 0.75, relative: 1e-15)
    #expect(schedule.rate(step: 16) == 2)
    #expect(schedule.rate(step: 99) == 2)
  }

  @Test func constantWarmsUpIfAskedTo() {
    let warmed = LearningRateSchedule.constant(peak: 6, warmupSteps: 3)
    #expect([1, 2, 3, 4, 99].map(warmed.rate(step:)) == [2, 4, 6, 6, 6])
    #expect(LearningRateSchedule.constant(peak: 6, warmupSteps: 0).rate(step: 1) == 6)
  }

  @Test func schedulesWithoutWarmUpAreFinite() {
    let schedules: [LearningRateSchedule] = [
      .noam(dimension: 8, warmupSteps: 0, factor: 1),
      .inverseSquareRoot(peak: 1, warmupSteps: 0),
      .linear(peak: 1, warmupSteps: 0, totalSteps: 0, final: 0.5),
      .cosine(peak: 1, warmupSteps: 0, totalSteps: 1, final: 0.5),
      .cosine(peak: 1, warmupSteps: 5, totalSteps: 3, final: 0.5),
    ]
    for schedule in schedules {
      for step in 1...9 { #expect(schedule.rate(step: step).isFinite) }
    }
  }
}
