import Core
import Testing
import Training

@Suite struct KernelSelectionTests {
  @Test func featuresAreReadFromTheFirstProcessor() {
    let x86 = "processor\t: 0\nflags\t\t: fpu avx avx2\n\nprocessor\t: 1\nflags\t\t: other\n"
    #expect(KernelSelection.features(inCPUInfo: x86) == ["fpu", "avx", "avx2"])
    #expect(KernelSelection.features(inCPUInfo: "Features\t: fp asimd\n") == ["fp", "asimd"])
    #expect(KernelSelection.features(inCPUInfo: "model name: x\n").isEmpty)
    #expect(KernelSelection.features(inCPUInfo: "").isEmpty)
  }

  @Test func whatTheCPULacksIsNamedInOneSentence() throws {
    let compiled = ["avx", "avx2", "avx512f", "avx512_bf16"]
    #expect(
      KernelSelection.missingFeatures(compiled: compiled, cpu: ["avx2", "avx", "fma"])
        == ["avx512f", "avx512_bf16"])
    try KernelSelection.requireFeatures(compiled: compiled, cpu: compiled + ["more"])
    try KernelSelection.requireFeatures(compiled: compiled, cpu: [])
    do {
      try KernelSelection.requireFeatures(compiled: compiled, cpu: ["avx", "avx2"])
      Issue.record("a lesser CPU passed")
    } catch {
      #expect(error.exitCode == .internal)
      #expect(error.message.hasPrefix("this build needs avx512f, avx512_bf16, which this CPU"))
    }
  }

  @Test func otherKernelsThanTheCheckpointsAreNamed() {
    let saved = ["blas_kernels": "SkylakeX", "bf16_kernels": "AMX"]
    func changes(blas: String, reduced: String?) -> [String] {
      KernelSelection.changes(since: saved, blas: blas, reduced: reduced)
    }
    #expect(changes(blas: "SkylakeX", reduced: "AMX").isEmpty)
    // Without bf16 products it does not matter which ones there were.
    #expect(changes(blas: "SkylakeX", reduced: nil).isEmpty)
    #expect(KernelSelection.changes(since: [:], blas: "Haswell", reduced: "AMX").isEmpty)
    #expect(
      changes(blas: "SkylakeX", reduced: "AVX512-BF16") == [
        "bf16 products are of AVX512-BF16, the checkpoint was made with AMX: the run goes on,"
          + " with other rounding"
      ])
    let both = changes(blas: "Haswell", reduced: "AVX512-BF16")
    #expect(both.count == 2)
    #expect(both.first?.hasSuffix("runtime.blas_kernels=SkylakeX keeps the bits") == true)
  }

  @Test func theBestKernelsFollowTheInstructionSets() {
    let avx512 = ["sse2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"]
    #expect(KernelSelection.bestKernels(cpu: avx512) == "SkylakeX")
    for missing in avx512.suffix(4) {
      #expect(KernelSelection.bestKernels(cpu: avx512.filter { $0 != missing }) == "Haswell")
    }
    #expect(KernelSelection.bestKernels(cpu: ["sse2", "avx", "avx2"]) == "Sandybridge")
    #expect(KernelSelection.bestKernels(cpu: ["sse2"]) == "Nehalem")
    #expect(KernelSelection.bestKernels(cpu: ["asimd"]) == nil)
  }

  @Test func aSetThatTheCPUCannotRunIsRefused() {
    let haswell = ["sse2", "ssse3", "sse4_1", "sse4_2", "avx", "avx2", "fma"]
    func refusal(_ kernels: String) -> String? {
      KernelSelection.refusal(of: kernels, cpu: haswell)
    }
    #expect(
      refusal("SkylakeX")
        == "runtime.blas_kernels SkylakeX needs avx512f, avx512bw, avx512dq, avx512vl, avx512cd,"
        + " which this CPU does not have; Haswell is the best of those it runs")
    for set in ["skylakex", "Cooperlake", "SAPPHIRERAPIDS", "Bulldozer"] {
      #expect(refusal(set) != nil, "\(set)")
    }
    for set in ["Haswell", "Zen", "Excavator", "Piledriver", "SandyBridge", "Nehalem", "Core2"] {
      #expect(refusal(set) == nil, "\(set)")
    }
    // OpenBLAS knows which it has, and a system that lists no instructions can refuse none.
    #expect(refusal("NEOVERSEN1") == nil)
    #expect(KernelSelection.refusal(of: "SkylakeX", cpu: []) == nil)
  }

  @Test func aProcessStartsAgainOnceAtMost() throws {
    let foreign = ["OPENBLAS_CORETYPE": "Haswell", "PATH": "/bin"]
    let settings = try #require(restart(wanted: "SkylakeX", foreign, process: 7))
    #expect(settings["OPENBLAS_CORETYPE"] == "SkylakeX")
    #expect(settings["OPENBLAS_NUM_THREADS"] == "1")
    let after = foreign.merging(settings) { $1 }
    #expect(
      KernelSelection.action(wanted: "SkylakeX", environment: after, process: 7) == .proceed)

    // Something put the old value back: no loop.
    let undone = after.merging(["OPENBLAS_CORETYPE": "Haswell"]) { $1 }
    let action = KernelSelection.action(wanted: "SkylakeX", environment: undone, process: 7)
    #expect(
      action
        == .fail(
          "the process cannot set OPENBLAS_CORETYPE for itself; set it before the start"))
    // A child inherits the guard, but decides for itself.
    #expect(restart(wanted: "SkylakeX", undone, process: 8) != nil)
  }

  @Test func anUnknownCPUKeepsItsKernelsButOneThread() throws {
    #expect(restart(wanted: nil, ["OPENBLAS_NUM_THREADS": "1"], process: 7) == nil)
    let settings = try #require(restart(wanted: nil, [:], process: 7))
    #expect(settings["OPENBLAS_NUM_THREADS"] == "1")
    #expect(settings["OPENBLAS_CORETYPE"] == nil)
  }

  /// The variables a process starts again with; nil when it goes on or fails.
  private func restart(
    wanted: String?, _ environment: [String: String], process: Int32
  ) -> [String: String]? {
    let action = KernelSelection.action(wanted: wanted, environment: environment, process: process)
    guard case .restart(let settings) = action else { return nil }
    return settings
  }

  @Test func aLibraryThatTookOtherKernelsIsReported() {
    #expect(KernelSelection.mismatch(wanted: "SkylakeX", loaded: "SkylakeX") == nil)
    #expect(KernelSelection.mismatch(wanted: "skylakex", loaded: "SkylakeX") == nil)
    #expect(KernelSelection.mismatch(wanted: nil, loaded: "Zen") == nil)
    #expect(KernelSelection.mismatch(wanted: "SkylakeX", loaded: "Zen")?.contains("Zen") == true)
  }
}
