import Core
import Training

/// What of the supervisor's environment reaches the launcher and its ranks: variables they need by
/// name, and whatever somebody named.
package struct PassedEnvironment: Equatable, Sendable {
  private static let known: Set<String> = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ",
    "LD_LIBRARY_PATH", "KRB5CCNAME", "NO_COLOR", "TERM", "SWIFT_BACKTRACE", "LOCKSTEP_CHECK",
    "LOCKSTEP_FAULT",
  ]
  /// MPI and its launchers, and the libraries by which it uses a network.
  private static let prefixes = [
    "OMPI_", "PMIX_", "PRTE_", "SLURM_", "HDF5_USE_FILE_LOCKING", "UCX_", "FI_", "PSM2_", "HWLOC_",
  ]
  private static let secrets = ["TOKEN", "SECRET", "PASS", "CREDENTIAL", "API_KEY"]
  /// What ranks on other hosts would not have by themselves; mpirun cares for the rest.
  private static let forRanks: Set<String> = [
    "LD_LIBRARY_PATH", "COLUMNS", "NO_COLOR", "SWIFT_BACKTRACE",
  ]
  private static let prefixesForRanks = [
    "LOCKSTEP_", "HDF5_", "PRTE_", "UCX_", "FI_", "PSM2_", "HWLOC_",
  ]
  /// What a shell or a terminal keeps for itself, and what the supervisor sets or uses itself.
  private static let unmissed: Set<String> = [
    "PWD", "OLDPWD", "SHLVL", "_", "PS1", "PS2", "PS4", "LS_COLORS", "LESSOPEN", "LESSCLOSE",
    "HISTFILE", "HISTSIZE", "HOSTNAME", "MAIL", "COLUMNS", "LINES", "TMPDIR", "SSH_AUTH_SOCK",
  ]

  package let variables: [String: String]
  /// Names of what is left out, in order; without what nobody would miss.
  package let dropped: [String]
  private let named: Set<String>

  /// - Parameter named: what somebody wants to be passed, even if it looks like a secret.
  package init(_ environment: [String: String], named: [String]) {
    let named = Set(named)
    self.named = named
    variables = environment.filter { name, _ in named.contains(name) || Self.isKnown(name) }
    dropped = environment.keys.filter {
      !named.contains($0) && !Self.isKnown($0) && !Self.unmissed.contains($0)
    }.sorted()
  }

  private static func isKnown(_ name: String) -> Bool {
    (known.contains(name) || prefixes.contains { name.hasPrefix($0) })
      && !secrets.contains { name.uppercased().contains($0) }
  }

  /// Whether mpirun has to carry a variable to ranks on other hosts.
  func isForRanks(_ name: String) -> Bool {
    named.contains(name) || Self.forRanks.contains(name) || name.hasSuffix("_NUM_THREADS")
      || Self.prefixesForRanks.contains { name.hasPrefix($0) }
  }

  /// Checks names that somebody wants to be passed.
  ///
  /// Throws: `Failure` (.usage) for a variable that is not set, and for one that is not passed on
  /// but set anew for the ranks.
  package static func check(
    named: [String], in environment: [String: String]
  ) throws(Failure) {
    for name in named {
      guard name != "TMPDIR", !name.hasPrefix("LOCKSTEP_"), !name.hasSuffix("_NUM_THREADS") else {
        throw Failure(.usage, "--pass \(name): lockstep launch sets it for the ranks itself")
      }
      guard environment[name] != nil else {
        throw Failure(.usage, "--pass \(name): no such variable is set; export it, or leave it out")
      }
    }
  }
}
