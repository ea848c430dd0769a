import Core

/// Texts that name the Slurm job they are used in, as Slurm's own file names do.
package enum JobText {
  /// Puts the numbers of the job in the place of `%j` (job), `%A` (array), `%a` (task of the
  /// array); `%%` is `%`. Outside of a job a text stays as it is.
  ///
  /// Throws: `Failure` (.usage) where the job is no array.
  package static func expanded(
    _ text: String, environment: [String: String]
  ) throws(Failure) -> String {
    guard let job = environment["SLURM_JOB_ID"] else { return text }
    var result = ""
    var isMarked = false
    for character in text {
      guard isMarked else {
        if character == "%" { isMarked = true } else { result.append(character) }
        continue
      }
      isMarked = false
      switch character {
      case "%": result.append("%")
      case "j": result += job
      case "A": result += try number("SLURM_ARRAY_JOB_ID", "%A", text, environment)
      case "a": result += try number("SLURM_ARRAY_TASK_ID", "%a", text, environment)
      default: result += "%\(character)"
      }
    }
    return isMarked ? result + "%" : result
  }

  private static func number(
    _ variable: String, _ mark: String, _ text: String, _ environment: [String: String]
  ) throws(Failure) -> String {
    guard let value = environment[variable] else {
      throw Failure(
        .usage,
        "\(text): \(mark) is a number of a job array, and this job is none"
          + " (sbatch --array); %% stands for %")
    }
    return value
  }
}
