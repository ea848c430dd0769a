import Core
import Reporting
import Testing
import Training

@Suite struct ProgressLineTests {
  private let record = StepRecord(
    step: 50, totalSteps: 600, epoch: 1.2, loss: 6.214, crossEntropy: 6.2140,
    learningRate: 3.5e-4, gradientNorm: 1.32, tokens: 3000, tokensPerSecond: 4402.4,
    weightsDigest: "9f3ac1d2aa00", secondsLeft: 256)

  @Test func aStepReadsInOneLine() {
    #expect(
      ProgressLine.text(record)
        == "step  50/600  epoch   1.20  loss  6.2140  ppl    499.70  lr 3.50e-04"
        + "  |grad|   1.320    4,402 tok/s  9f3ac1d2   4m16s left")
  }

  @Test func aNarrowTerminalHasTheMostWanted() {
    let whole = ProgressLine.text(record)
    let lines = (1...whole.count + 1).map { width in
      ProgressLine.text(record, on: Terminal(columns: width, isColored: false))
    }
    #expect(lines[whole.count] == whole && lines[whole.count - 1] == whole)
    #expect(lines[79] == "step  50/600  loss  6.2140  ppl    499.70    4,402 tok/s   4m16s left")
    #expect(lines[0] == "step  50/600")
    for (index, line) in lines.enumerated() { #expect(line.count <= max(index + 1, 12)) }
  }

  @Test func colourTakesNoRoom() {
    let plain = ProgressLine.text(record, on: Terminal(columns: 100, isColored: false))
    let colored = ProgressLine.text(record, on: Terminal(columns: 100, isColored: true))
    #expect(colored == "\u{1b}[1mstep  50/600\u{1b}[0m" + plain.dropFirst("step  50/600".count))
  }

  @Test func whatTheLauncherSaysCounts() {
    let wide = Terminal(columns: 132, isColored: true)
    #expect(Terminal.current(environment: wide.variables) == wide)
    #expect(Terminal.current(environment: Terminal.plain.variables) == .plain)
    #expect(Terminal.current(environment: ["OMPI_COMM_WORLD_RANK": "0"]) == .plain)
  }

  @Test func columnsKeepTheirPlace() {
    var late = record
    late.step = 600
    late.epoch = 123.456
    late.loss = 0.9
    late.crossEntropy = 0.8
    late.gradientNorm = 123.4
    late.tokensPerSecond = 123_456
    late.secondsLeft = 0
    let (first, second) = (ProgressLine.text(record), ProgressLine.text(late))
    #expect(first.count == second.count)
    for name in ["epoch", "loss", "ppl", "lr", "|grad|", "tok/s", "left"] {
      #expect(first.range(of: name)?.lowerBound == second.range(of: name)?.lowerBound)
    }
  }

  @Test func aDivergedStepStillReads() {
    var diverged = record
    diverged.loss = .nan
    diverged.crossEntropy = nil
    diverged.gradientNorm = .infinity
    diverged.tokensPerSecond = .nan
    diverged.secondsLeft = .infinity
    let text = ProgressLine.text(diverged)
    #expect(text.contains("loss     nan"))
    #expect(text.contains("|grad|     inf"))
  }

  @Test(arguments: [
    (0.0, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m00s"), (256, "4m16s"),
    (3599, "59m59s"), (3600, "1h00m"), (7500, "2h05m"), (86_400, "1d00h"), (273_600, "3d04h"),
    (.nan, "?"), (-1, "?"), (1e300, "347222d05h"),
  ])
  func durationsAreShort(seconds: Double, text: String) {
    #expect(ProgressLine.duration(seconds) == text)
  }

  @Test(arguments: [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (17_300_000, "17.3 MB"), (999_600, "1.0 MB"),
    (252_000_000, "252 MB"), (3_000_000_000, "3.0 GB"), (5_000_000_000_000_000, "5000 TB"),
  ])
  func sizesArePowersOfTen(count: Int, text: String) {
    #expect(ProgressLine.bytes(count) == text)
  }

  @Test(arguments: [
    (0, "0"), (999, "999"), (1000, "1,000"), (63_045_632, "63,045,632"), (-1234, "-1,234"),
  ])
  func numbersAreGrouped(value: Int, text: String) {
    #expect(ProgressLine.grouped(value) == text)
  }

  @Test func validationAndSavesAreLinesOfTheirOwn() {
    let validation = ValidationRecord(
      step: 100, loss: 5.102, tokens: 2048, seconds: 0.84)
    #expect(
      ProgressLine.text(validation)
        == "valid after step 100  loss 5.1020  ppl 164.35  (2,048 tokens in 0.8s)")
    var save = SaveRecord(
      step: 100, path: "runs/x/checkpoints/step-000000100", byteCount: 17_300_000, seconds: 0.1)
    #expect(
      ProgressLine.text(save) == "saved runs/x/checkpoints/step-000000100 (17.3 MB in 0.1s)")
    save.problem = "No space left on device"
    #expect(
      ProgressLine.text(save)
        == "NOT saved after step 100, training goes on: No space left on device")
  }
}

@Suite struct StartBannerTests {
  private func description(_ stages: [RunDescription.StageDescription]) -> RunDescription {
    RunDescription(
      runPath: "runs/x", resumedStep: nil, ranks: 2, hosts: 1, lanes: 8, blasKernels: "SkylakeX",
      reducedProducts: nil,
      model: .init(), parameterCount: 63_045_632, dataPath: "data/x", trainingPairs: 18_731,
      excludedPairs: 12, validationPairs: 500, vocabularySize: 37_000, tokensPerStep: 25_000,
      schedule: "1f1b", stages: stages)
  }

  @Test func theBannerSaysWhatWillRun() {
    let run = description([
      .init(
        layers: "encoder 0-5, decoder 0-5 (100 %)",
        memory: [.init("weights", 252_182_528), .init("activations", 1_900_000_000)])
    ])
    #expect(
      StartBanner.lines(run) == [
        "lockstep \(lockstepVersion)  runs/x  new run",
        "  ranks   2 on 1 host, 8 lanes, OpenBLAS kernels SkylakeX",
        "  model   Transformer 6+6 layers, d 512, ff 2048, 8 heads, post-norm, sinusoidal"
          + " positions: 63,045,632 parameters",
        "  data    data/x: 18,731 training (12 too long) and 500 validation pairs, 37,000 pieces",
        "  step    at most 25,000 source and target tokens each",
        "  memory  2.2 GB a rank: weights 252 MB, activations 1.9 GB",
      ])
  }

  @Test func memoryThatIsTooLittleIsSaidInALineWithWhoseLimitItIs() {
    func last(_ limit: MemoryLimit?) -> String? {
      var run = description([.init(layers: "", memory: [.init("weights", 60_000_000)])])
      run.shortage = MemoryShortage(
        hosts: ["n1", "n1"], planned: [60_000_000, 60_000_000], limits: [limit, limit])
      return StartBanner.lines(run).last
    }
    #expect(
      last(MemoryLimit(byteCount: 80_000_000, owner: .job))
        == "  memory  too little: 2 ranks on n1 will need 120 MB and more, the job's memory limit"
        + " is 80.0 MB")
    #expect(
      last(MemoryLimit(byteCount: 119_000_000, owner: .machine))
        == "  memory  too little: 2 ranks on n1 will need 120 MB and more, this machine's memory"
        + " is 119 MB")
    for limit in [nil, MemoryLimit(byteCount: 120_000_000, owner: .job)] {
      #expect(last(limit) == "  memory  60.0 MB a rank: weights 60.0 MB")
    }
  }

  @Test func stagesAreATable() {
    let run = description([
      .init(
        layers: "encoder 0-5 (48 %)",
        memory: [.init("weights", 76_000_000), .init("activations", 1_900_000_000)]),
      .init(
        layers: "decoder 0-5 (52 %)",
        memory: [.init("weights", 7_000_000), .init("activations", 950_000_000)]),
    ])
    #expect(
      StartBanner.lines(run).suffix(4) == [
        "  memory by stage, 1f1b",
        "  stage  weights  activations  a rank  layers",
        "      0  76.0 MB       1.9 GB  2.0 GB  encoder 0-5 (48 %)",
        "      1   7.0 MB       950 MB  957 MB  decoder 0-5 (52 %)",
      ])
  }
}
