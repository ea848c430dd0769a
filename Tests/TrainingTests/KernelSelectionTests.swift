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

  @Test func aProcessStartsAgainOnceAtMost() throws {
    let foreign = ["OPENBLAS_CORETYPE": "Haswell", "PATH": "/bin"]
    let action = KernelSelection.action(wanted: "SkylakeX", environment: foreign)
    guard case .restart(let settings) = action else {
      Issue.record("expected a restart, found \(action)")
      return
    }
    #expect(settings["OPENBLAS_CORETYPE"] == "SkylakeX")
    #expect(settings["OPENBLAS_NUM_THREADS"] == "1")
    let after = foreign.merging(settings) { $1 }
    #expect(KernelSelection.action(wanted: "SkylakeX", environment: after) == .proceed)

    // Something put the old value back: no loop.
    let undone = after.merging(["OPENBLAS_CORETYPE": "Haswell"]) { $1 }
    guard case .fail = KernelSelection.action(wanted: "SkylakeX", environment: undone) else {
      Issue.record("a process would start itself for ever")
      return
    }
    // Another choice in a child of such a process is a new decision.
    guard case .restart = KernelSelection.action(wanted: "Haswell", environment: undone) else {
      let threads = undone["OPENBLAS_NUM_THREADS"]
      #expect(threads == "1")
      #expect(KernelSelection.action(wanted: "Haswell", environment: undone) == .proceed)
      return
    }
  }

  @Test func anUnknownCPUKeepsItsKernelsButOneThread() {
    #expect(
      KernelSelection.action(wanted: nil, environment: ["OPENBLAS_NUM_THREADS": "1"]) == .proceed)
    guard case .restart(let settings) = KernelSelection.action(wanted: nil, environment: [:]) else {
      Issue.record("expected a restart")
      return
    }
    #expect(settings["OPENBLAS_CORETYPE"] == nil)
  }

  @Test func aLibraryThatTookOtherKernelsIsReported() {
    #expect(KernelSelection.mismatch(wanted: "SkylakeX", loaded: "SkylakeX") == nil)
    #expect(KernelSelection.mismatch(wanted: "skylakex", loaded: "SkylakeX") == nil)
    #expect(KernelSelection.mismatch(wanted: nil, loaded: "Zen") == nil)
    #expect(KernelSelection.mismatch(wanted: "SkylakeX", loaded: "Zen")?.contains("Zen") == true)
  }
}
