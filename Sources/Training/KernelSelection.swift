import Core
import Foundation

/// Which instructions this machine has, and which OpenBLAS kernel set runs on them.
///
/// The kernel set decides speed by a factor of two and the last bits of every product, so it is the
/// configuration's to choose and never the environment's. OpenBLAS reads its choice when it is
/// loaded, which is before `main`: a process that finds another choice starts itself again.
package enum KernelSelection {
  /// Instruction-set names of a text like /proc/cpuinfo: x86 calls them flags, ARM Features.
  package static func features(inCPUInfo text: String) -> [String] {
    let line = text.filledLines.first { line in
      line.hasPrefix("flags") || line.hasPrefix("Features")
    }
    guard let line, let colon = line.firstIndex(of: ":") else { return [] }
    return line[line.index(after: colon)...].split(separator: " ").map(String.init)
  }

  /// Instruction sets of the CPU this process runs on; empty where Linux does not tell.
  package static func cpuFeatures() -> [String] {
    let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
    return text.map(features(inCPUInfo:)) ?? []
  }

  /// What the kernels were compiled for and this CPU does not have.
  package static func missingFeatures(compiled: [String], cpu: [String]) -> [String] {
    let present = Set(cpu)
    return compiled.filter { !present.contains($0) }
  }

  /// Checks that this CPU can run the kernels, before one of them ends the process with SIGILL.
  ///
  /// Throws: `Failure` (.internal) naming the missing features and the remedy.
  package static func requireFeatures(compiled: [String], cpu: [String]) throws(Failure) {
    // Without a list of the CPU's features nothing can be said; the kernels then have to try.
    guard !cpu.isEmpty else { return }
    let missing = missingFeatures(compiled: compiled, cpu: cpu)
    guard missing.isEmpty else {
      throw Failure(
        .internal,
        "this build needs \(missing.joined(separator: ", ")), which this CPU does not have;"
          + " build on the oldest machine of the cluster or with LOCKSTEP_MARCH=x86-64-v3")
    }
  }

  /// The fastest OpenBLAS kernel set for a CPU; nil lets OpenBLAS choose (not an x86 CPU).
  ///
  /// Source: measured on AVX-512 machines, where SkylakeX beats the Cooperlake that OpenBLAS 0.3.21
  /// takes by itself.
  package static func bestKernels(cpu: [String]) -> String? {
    let present = Set(cpu)
    if present.isSuperset(of: ["avx512f", "avx512bw", "avx512dq", "avx512vl"]) {
      return "SkylakeX"
    }
    if present.isSuperset(of: ["avx2", "fma"]) { return "Haswell" }
    if present.contains("avx") { return "Sandybridge" }
    return present.contains("sse2") ? "Nehalem" : nil
  }

  /// Why a CPU cannot run a kernel set somebody has named: OpenBLAS would load it all the same, and
  /// its first product end the process with SIGILL. nil for a set that runs or is not known here.
  ///
  /// Source: OpenBLAS, cpuid and kernel/Makefile: what each target is compiled for.
  package static func refusal(of kernels: String, cpu: [String]) -> String? {
    guard !cpu.isEmpty, let needed = instructions[kernels.lowercased()] else { return nil }
    let missing = missingFeatures(compiled: needed, cpu: cpu)
    return missing.isEmpty
      ? nil
      : "runtime.blas_kernels \(kernels) needs \(missing.joined(separator: ", ")), which this CPU"
        + " does not have; \(bestKernels(cpu: cpu) ?? "auto") is the best of those it runs"
  }

  /// By kernel set, in lower case.
  private static let instructions: [String: [String]] = {
    let sse4 = ["ssse3", "sse4_1", "sse4_2"]
    let avx2 = ["avx", "avx2", "fma"]
    let avx512 = avx2 + ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"]
    return [
      "core2": ["ssse3"], "penryn": ["ssse3", "sse4_1"], "dunnington": ["ssse3", "sse4_1"],
      "nehalem": sse4, "sandybridge": ["avx"], "bulldozer": ["avx", "fma4"],
      "piledriver": ["avx", "fma"], "steamroller": ["avx", "fma"], "excavator": avx2,
      "haswell": avx2, "zen": avx2, "skylakex": avx512, "cooperlake": avx512 + ["avx512_bf16"],
      "sapphirerapids": avx512 + ["avx512_bf16"],
    ]
  }()

  /// What to say where a checkpoint was made with other kernels than this process uses. They round
  /// differently: the run goes on, but not bit by bit as it would have.
  ///
  /// - Parameter provenance: the checkpoint's; older ones do not name their kernels.
  package static func changes(
    since provenance: [String: String], blas: String, reduced: String?
  ) -> [String] {
    var sentences: [String] = []
    if let saved = provenance["blas_kernels"], saved != blas {
      sentences.append(
        "OpenBLAS kernels are \(blas), the checkpoint was made with \(saved): the run goes on,"
          + " with other rounding; runtime.blas_kernels=\(saved) keeps the bits")
    }
    if let reduced, let saved = provenance["bf16_kernels"], saved != reduced {
      sentences.append(
        "bf16 products are of \(reduced), the checkpoint was made with \(saved): the run goes on,"
          + " with other rounding")
    }
    return sentences
  }

  /// What a process does about its kernel set.
  package enum Action: Equatable, Sendable {
    case proceed
    /// Set these variables and start again.
    case restart(environment: [String: String])
    /// It was started again and still finds another choice.
    case fail(String)
  }

  /// Decides from the wanted kernel set (nil: OpenBLAS's own choice), the environment and the
  /// process id, which stays when a process starts itself again and is new in its children.
  package static func action(
    wanted: String?, environment: [String: String], process: Int32
  ) -> Action {
    var settings = ["OPENBLAS_NUM_THREADS": "1"]
    if let wanted { settings["OPENBLAS_CORETYPE"] = wanted }
    let wrong = settings.filter { environment[$0.key] != $0.value }
    if wrong.isEmpty { return .proceed }
    let choice = "\(wanted ?? "auto") \(process)"
    if environment[guardVariable] == choice {
      let names = wrong.keys.sorted().joined(separator: " and ")
      return .fail("the process cannot set \(names) for itself; set it before the start")
    }
    settings[guardVariable] = choice
    return .restart(environment: settings)
  }

  /// Makes this process run on the wanted kernel set, by starting it again where that is needed.
  ///
  /// Call it before anything computes and before MPI starts. Returns the set that was asked for.
  /// Throws: `Failure` (.configuration for a set this CPU cannot run, .internal when the process
  /// cannot be started again).
  @discardableResult
  package static func apply(_ configured: String?) throws(Failure) -> String? {
    let cpu = cpuFeatures()
    if let configured, let refusal = refusal(of: configured, cpu: cpu) {
      throw Failure(.configuration, refusal)
    }
    let wanted = configured ?? bestKernels(cpu: cpu)
    let environment = ProcessInfo.processInfo.environment
    switch action(wanted: wanted, environment: environment, process: getpid()) {
    case .proceed:
      takeName()
      return wanted
    case .fail(let message): throw Failure(.internal, message)
    case .restart(let environment):
      for (name, value) in environment where setenv(name, value, 1) != 0 {
        throw Failure(.internal, "cannot set \(name) (\(String(cString: strerror(errno))))")
      }
      // What was printed so far would be lost with this image of the process.
      fflush(nil)
      // By its path where it still has one: the kernel names a process after what is executed.
      if let path = ownPath { execv(path, CommandLine.unsafeArgv) }
      execv(ownLink, CommandLine.unsafeArgv)
      throw Failure(
        .internal,
        "cannot start again with other OpenBLAS kernels (\(String(cString: strerror(errno))))")
    }
  }

  private static let ownLink = "/proc/self/exe"

  /// Where the program of this process lies; nil where it was moved, replaced or removed.
  private static var ownPath: String? {
    var (named, running) = (stat(), stat())
    guard let path = try? FileSystem.executablePath(), stat(path, &named) == 0,
      stat(ownLink, &running) == 0, named.st_dev == running.st_dev,
      named.st_ino == running.st_ino
    else { return nil }
    return path
  }

  /// Gives a process that was started by the link the program's name, for `ps`, `top` and the
  /// kernel's words.
  private static func takeName() {
    let file = "/proc/self/comm"
    guard (try? String(contentsOfFile: file, encoding: .utf8)) == "exe\n",
      let name = CommandLine.arguments.first?.split(separator: "/").last,
      let comm = fopen(file, "we")
    else { return }
    fputs(String(name), comm)
    fclose(comm)
  }

  /// What is wrong with the kernel set that OpenBLAS loaded; nil when it is the wanted one.
  package static func mismatch(wanted: String?, loaded: String) -> String? {
    guard let wanted, wanted.lowercased() != loaded.lowercased() else { return nil }
    return "runtime.blas_kernels \(wanted) was asked for, but OpenBLAS took \(loaded);"
      + " this library or this CPU does not have \(wanted)"
  }

  /// Says which process started itself again, and for which kernels: the guard against a loop.
  private static let guardVariable = "LOCKSTEP_KERNELS"
}
