import Core
import Foundation
import Testing

/// A system that gives no more threads, processes or memory is a sentence, and never a hang or a
/// trap.
@Suite(.serialized) struct SystemLimitTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func expectSentence(
    _ outcome: Outcome, _ codes: Set<ExitCode>, _ remark: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(
      codes.map(\.rawValue).contains(outcome.exitCode), "\(remark): \(outcome.error)",
      sourceLocation: sourceLocation)
    #expect(outcome.errorLines.count == 1, "\(remark): \(outcome.error)")
    #expect(outcome.error.hasPrefix("lockstep: "), "\(remark): \(outcome.error)")
  }

  /// From the first process or thread on to the last, none is started any more.
  @Test(.enabled(if: Program.canTrace, "SKIPPED: needs strace and the right to trace"))
  func noThreadAndNoProcessMoreIsASentence() throws {
    var ended: [String] = []
    for number in 1...20 {
      let run = try TinyRun(steps: 3, name: "run-\(number)", in: scratch)
      let refusing = [
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3", "-e",
        "inject=clone3:error=EAGAIN:when=\(number)+",
      ]
      // Without them the program starts itself again, and OpenBLAS threads before it.
      let kernels = ["OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"]
      let command = try TinyRun(
        ["runtime.blas_kernels=Haswell"], steps: 3, name: "run-\(number)", in: scratch
      ).command()
      let outcome = try Job(refusing + command, environment: kernels, in: scratch).outcome()
      if outcome.exitCode == 0 {
        #expect(run.savedSteps == [3])
        break
      }
      let codes: Set = [ExitCode.internal, .inputOutput]
      #expect(codes.map(\.rawValue).contains(outcome.exitCode), "\(number): \(outcome.error)")
      #expect(outcome.errorLines.last?.hasPrefix("lockstep: ") == true, "\(outcome.error)")
      ended.append(outcome.error)
    }
    for thread in ["wait watch", "saving", "loader"] {
      #expect(ended.contains { $0.contains("no thread for \(thread) ") }, "\(thread): \(ended)")
    }
  }

  /// OpenBLAS asks for its buffers for ever: at the first product, and in threads of its own, for
  /// which the end of a process then waits.
  @Test(arguments: ["train", "translate", "inspect", "launch", "--help"])
  func aProgramWithoutRoomForBuffersEnds(command: String) throws {
    let trained = try TinyRun.trained
    let run = try TinyRun(steps: 3, name: "run-" + command, in: scratch)
    let arguments =
      switch command {
      case "train": try run.command()
      case "translate": try Program.command([command, "--checkpoint", trained])
      case "inspect": try Program.command([command, trained])
      case "launch": try run.command(.supervised(1))
      default: try Program.command([command])
      }
    for kilobytes in [160_000, 250_000] {
      let limited = ["bash", "-c", "ulimit -v \(kilobytes) && exec \"$@\"", "bash"] + arguments
      let outcome = try Job(limited, input: Data("a\n".utf8), in: scratch).outcome()
      #expect((0..<100).contains(outcome.exitCode), "\(kilobytes): \(outcome.error)")
      if outcome.exitCode != 0 {
        #expect(outcome.error.contains("lockstep: "), "\(kilobytes): \(outcome.error)")
      }
    }
  }

  @Test func tooSmallAStackIsASentence() throws {
    let limited =
      ["bash", "-c", "ulimit -s 64 && exec \"$@\"", "bash"]
      + (try TinyRun(steps: 3, in: scratch).command())
    let outcome = try Job(limited, in: scratch).outcome()
    expectSentence(outcome, [.internal], "64 kB")
    #expect(outcome.error.contains("ulimit -s"), "\(outcome.error)")
  }

  @Test(arguments: [300_000, 600_000, 1_000_000])
  func tooLittleMemoryIsASentence(kilobytes: Int) throws {
    let run = try TinyRun(
      ["model.dimension=1024", "model.feed_forward=4096", "model.heads=16"], steps: 3,
      name: "run-\(kilobytes)", in: scratch)
    let limited =
      ["bash", "-c", "ulimit -v \(kilobytes) && exec \"$@\"", "bash"] + (try run.command())
    let outcome = try Job(limited, in: scratch).outcome()
    if outcome.exitCode != 0 {
      expectSentence(outcome, [.cannotCreate, .internal], "\(kilobytes) kB")
    }
  }
}
