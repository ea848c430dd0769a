import Core
import Optimizers
import Tensors
import Testing

/// Adam in double precision, written as the paper writes it.
private struct DoubleAdam {
  var adam: Adam
  var w: Double
  var m = 0.0
  var v = 0.0

  mutating func update(_ g: Double, step: Int, learningRate: Double, scale: Double) {
    let g = g * scale
    m = adam.beta1 * m + (1 - adam.beta1) * g
    v = adam.beta2 * v + (1 - adam.beta2) * g * g
    var b1 = 1.0
    var b2 = 1.0
    for _ in 0..<step {
      b1 *= adam.beta1
      b2 *= adam.beta2
    }
    let mHat = m / (1 - b1)
    let vHat = v / (1 - b2)
    w -= learningRate * adam.weightDecay * w
    w -= learningRate * mHat / (vHat.squareRoot() + adam.epsilon)
  }
}

@Suite struct AdamTests {
  private let random = RandomStream(seed: 11, purpose: .synthesis, site: 0)

  private func noise(_ index: Int) -> Float { Float(random.uniform(at: index) * 2 - 1) }

  @Test(arguments: [0.0, 0.1]) func updatesAreThoseOfDoublePrecision(decay: Double) {
    let adam = Adam(weightDecay: decay)
    let count = 53
    let room = FloatBuffer(count: 4 * count)
    let (w, g) = (room.view[0..<count], room.view[count..<2 * count])
    let (m, v) = (room.view[2 * count..<3 * count], room.view[3 * count..<4 * count])
    for i in 0..<count { w.base[i] = noise(i) }
    var twins = w.array.map { DoubleAdam(adam: adam, w: Double($0)) }
    for step in 1...50 {
      for i in 0..<count { g.base[i] = noise(step * 1_000 + i) * 0.01 }
      adam.update(
        weights: w, gradient: g, firstMoment: m, secondMoment: v, step: step,
        learningRate: 1e-3, gradientScale: 0.5)
      for i in 0..<count {
        twins[i].update(Double(g.base[i]), step: step, learningRate: 1e-3, scale: 0.5)
      }
    }
    for (i, twin) in twins.enumerated() {
      #expect(abs(Double(w.base[i]) - twin.w) < 2e-6)
      #expect(abs(Double(m.base[i]) - twin.m) < 1e-8)
      #expect(abs(Double(v.base[i]) - twin.v) <= 1e-5 * twin.v)
    }
  }

  /// With corrected bias a constant gradient moves every weight by the learning rate, each step.
  @Test func aConstantGradientMovesByTheLearningRate() {
    let room = FloatBuffer(count: 4)
    let adam = Adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-9)
    room.view.base[1] = 0.25
    for step in 1...10 {
      adam.update(
        weights: room.view[0..<1], gradient: room.view[1..<2], firstMoment: room.view[2..<3],
        secondMoment: room.view[3..<4], step: step, learningRate: 0.125)
      #expect(abs(room.view.base[0] + 0.125 * Float(step)) < 2e-5)
    }
  }

  @Test func biasCorrectionHasItsGoldenValues() {
    let adam = Adam(beta1: 0.9, beta2: 0.98)
    // 1 - 0.9 = 0.1, 1 - 0.81 = 0.19, 1 - 0.9^10 = 0.6513215599; 1 - 0.98^2 = 0.0396.
    #expect(adam.coefficients(step: 1, learningRate: 0.1).stepSize == 1)
    #expect(
      abs(adam.coefficients(step: 2, learningRate: 0.19).stepSize - 1) < 1e-7)
    #expect(abs(adam.coefficients(step: 10, learningRate: 0.651_321_559_9).stepSize - 1) < 1e-7)
    #expect(
      abs(adam.coefficients(step: 2, learningRate: 1).secondMomentCorrection - 25.252_525)
        < 1e-5)
    let late = adam.coefficients(step: 1_000_000, learningRate: 0.5)
    #expect(late.stepSize == 0.5 && late.secondMomentCorrection == 1)
  }

  /// A span may begin and end anywhere: one call over all gives the bytes of many over parts.
  @Test(arguments: [1, 2, 7, 15, 16, 17, 31, 33]) func cutsDoNotChangeABit(cut: Int) {
    let count = 101
    func run(cut: Int) -> [UInt32] {
      let room = FloatBuffer(count: 4 * count)
      for i in 0..<2 * count { room.view.base[i] = noise(i) }
      for step in 1...3 {
        for start in stride(from: 0, to: count, by: cut) {
          let end = min(count, start + cut)
          func part(_ k: Int) -> Vector { room.view[k * count + start..<k * count + end] }
          Adam(weightDecay: 0.01).update(
            weights: part(0), gradient: part(1), firstMoment: part(2), secondMoment: part(3),
            step: step, learningRate: 0.01)
        }
      }
      return room.view.array.map(\.bitPattern)
    }
    #expect(run(cut: cut) == run(cut: count))
  }

  /// The scalar form of the kernel's legend, operation by operation.
  @Test func lanesAreScalarArithmetic() {
    let count = 37
    let room = FloatBuffer(count: 4 * count)
    for i in 0..<4 * count { room.view.base[i] = abs(noise(i)) }
    let before = room.view.array
    let c = Adam(weightDecay: 0.1).coefficients(step: 3, learningRate: 0.01, gradientScale: 0.3)
    adamUpdate(
      weights: room.view[0..<count], gradient: room.view[count..<2 * count],
      firstMoment: room.view[2 * count..<3 * count],
      secondMoment: room.view[3 * count..<4 * count], c)
    for i in 0..<count {
      let g: Float = before[count + i] * c.gradientScale
      let m: Float = before[2 * count + i] * c.beta1 + g * c.oneMinusBeta1
      let v: Float = before[3 * count + i] * c.beta2 + (g * g) * c.oneMinusBeta2
      let denominator: Float = (v * c.secondMomentCorrection).squareRoot() + c.epsilon
      let w: Float = before[i] * c.weightFactor - (m * c.stepSize) / denominator
      #expect(room.view.base[i].bitPattern == w.bitPattern)
      #expect(room.view.base[2 * count + i].bitPattern == m.bitPattern)
      #expect(room.view.base[3 * count + i].bitPattern == v.bitPattern)
    }
  }
}
