import Core
import Foundation

/// The hosts of a job, and who named them.
package struct HostSource: Equatable, Sendable {
  package var entries: [HostList.Entry]
  /// For the person who may not know; nil where it was typed.
  package var origin: String?
  /// Whether they are those of the Slurm job this process is in.
  package var isSlurms = false

  /// The first of: `--host`, `--hostfile`, the Slurm job, the node file of PBS, the host file of
  /// Grid Engine, OpenMPI's default hostfile; nil where there is none.
  ///
  /// - Parameter job: the Slurm job this process is in.
  /// Throws: `Failure` (.usage, .badData, .missingInput, .configuration).
  package static func find(
    host: String?, hostfile: String?, environment: [String: String], job: SlurmJob?
  ) throws(Failure) -> HostSource? {
    if let host { return HostSource(entries: try HostList.parse(host)) }
    if let hostfile {
      return HostSource(entries: try HostList.parse(hostfile: try read(hostfile), path: hostfile))
    }
    if let job, let hosts = try SlurmAllocation.hosts(in: environment) {
      return HostSource(
        entries: hosts.map { .init(name: $0.name, slots: $0.slots, place: "SLURM_JOB_NODELIST") },
        origin: "Slurm job \(job.id)", isSlurms: true)
    }
    if let path = environment["PBS_NODEFILE"], !path.isEmpty {
      return HostSource(
        entries: try HostList.parse(nodefile: try read(path), path: path),
        origin: "\(path) (PBS_NODEFILE)")
    }
    if let path = environment["PE_HOSTFILE"], !path.isEmpty {
      return HostSource(
        entries: try HostList.parse(gridEngine: try read(path), path: path),
        origin: "\(path) (PE_HOSTFILE)")
    }
    for name in defaultHostfiles {
      // OpenMPI's word for no file.
      guard let path = environment[name], !path.isEmpty, path != "none" else { continue }
      return HostSource(
        entries: try HostList.parse(hostfile: try read(path), path: path),
        origin: "\(path) (\(name))")
    }
    return nil
  }

  /// Of OpenMPI 4 and 5; the MPI Operator of Kubernetes sets the first.
  private static let defaultHostfiles = [
    "OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile",
  ]

  private static func read(_ path: String) throws(Failure) -> [UInt8] {
    try FileSystem.readAll(path, limit: 1 << 22)
  }

  /// The hosts with their numbers; those that have none are asked for their cores.
  ///
  /// - Parameter guess: hears of a host that does not answer and is taken to have as many cores as
  ///   this one; nil where the numbers decide how many ranks there are.
  /// Throws: `Failure` (.unavailable) when one of them does not answer and nothing may be guessed.
  package func resolved(
    agent: HostAgent, program: String, environment: [String: String],
    withinSeconds limit: Double, guess: ((String) -> Void)?
  ) throws(Failure) -> [JobHost] {
    let hosts = entries.map {
      JobHost(name: $0.name, slots: $0.slots ?? 1, login: $0.login)
    }
    let unknown = entries.indices.filter { entries[$0].slots == nil }
    let questions = unknown.filter { !hosts[$0].isLocal }.map { index in
      (
        index,
        HostQuestion(
          hosts[index], agent: agent, command: [program, "cores"], environment: environment)
      )
    }
    let answers = HostQuestion.answers(questions.map(\.1), withinSeconds: limit)
    var cores: [Int: Int] = [:]
    for (question, answer) in zip(questions, answers) {
      do throws(Failure) {
        cores[question.0] = try Self.cores(answer, entries[question.0])
      } catch {
        guard let guess else { throw error }
        guess("\(error.message); taken to have \(Processors.cores), as this host")
      }
    }
    return hosts.indices.map { index in
      guard entries[index].slots == nil else { return hosts[index] }
      return JobHost(
        name: hosts[index].name, slots: cores[index] ?? Processors.cores,
        login: hosts[index].login)
    }
  }

  private static func cores(
    _ answer: HostQuestion.Answer, _ entry: HostList.Entry
  ) throws(Failure) -> Int {
    switch answer {
    case .text(let text):
      let number = Int(text.trimmingCharacters(in: .whitespacesAndNewlines))
      guard let number, 1...HostList.slotLimit ~= number else { fallthrough }
      return number
    case .none:
      var reason = "it printed no number from 1 to \(HostList.slotLimit)"
      if case .none(let words) = answer { reason = words }
      throw Failure(
        .unavailable,
        "\(entry.place): \(entry.name) has no slots=, and does not say how many cores it has:"
          + " \(reason)")
    }
  }
}
