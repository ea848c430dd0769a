/// The candidate that a mistyped name most likely meant: the same last component elsewhere, or the
/// smallest edit distance; nil when nothing is near.
package func nearestName(to name: String, in candidates: [String]) -> String? {
  // Longer names are no slips, and the distance is quadratic.
  guard name.utf8.count <= 80 else { return nil }
  let parts = name.split(separator: ".")
  let ranked = candidates.map { candidate -> (distance: Int, candidate: String) in
    let candidateParts = candidate.split(separator: ".")
    if let last = parts.last, last == candidateParts.last {
      // Where several groups have the key, the group's name decides.
      let group = editDistance(String(parts[0]), String(candidateParts[0]))
      return (parts.count > 1 ? min(group, 2) : 1, candidate)
    }
    guard parts.count > 1, candidateParts.count > 1, parts[0] == candidateParts[0] else {
      return (editDistance(name, candidate), candidate)
    }
    let last = editDistance(String(parts[parts.count - 1]), String(candidateParts[1]))
    return (last, candidate)
  }
  guard let best = ranked.min(by: { $0.distance < $1.distance }),
    best.distance <= max(2, name.utf8.count / 3)
  else { return nil }
  return best.candidate
}

/// Insertions, deletions and replacements of one byte that turn one text into the other
/// (Levenshtein's distance).
package func editDistance(_ first: String, _ second: String) -> Int {
  let columns = Array(second.utf8)
  var row = Array(0...columns.count)
  for (index, byte) in first.utf8.enumerated() {
    var diagonal = row[0]
    row[0] = index + 1
    for column in columns.indices {
      let replaced = diagonal + (byte == columns[column] ? 0 : 1)
      diagonal = row[column + 1]
      row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
    }
  }
  return row[columns.count]
}
