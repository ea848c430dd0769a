import Foundation
import HDF5

// With a file: opens it as any reader does and says how many elements each of its datasets has. The
// program `lockstep` beside this one may be a liar.
if CommandLine.arguments.count == 2 {
  var (text, code) = ("", Int32(0))
  do {
    let file = try StoredFile.open(CommandLine.arguments[1])
    for node in file.tree() where node.kind == .dataset {
      do {
        text += "\(node.path) \(try file.dataset(node.path).count)\n"
      } catch {
        text += "\(node.path) \(error)\n"
      }
    }
  } catch {
    (text, code) = ("\(error)\n", 65)
  }
  FileHandle.standardOutput.write(Data(text.utf8))
  exit(code)
}

// Gives up what a reader of hostile files gives up, and then tries to have it all the same. Exit
// code 0: nothing was possible any more; else the number of the first thing that was.
let before = open("/etc/passwd", O_RDONLY)
guard before == 3, close(before) == 0 else { exit(100) }
do {
  try Confinement.enter()
} catch {
  exit(101)
}
let attempts: [() -> Bool] = [
  { open("/etc/passwd", O_RDONLY) >= 0 },
  { open("/tmp/lockstep-confinement-probe", O_WRONLY | O_CREAT, 0o600) >= 0 },
  { socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) >= 0 },
  { dup(0) >= 0 },
  {
    var process: pid_t = 0
    return posix_spawn(&process, "/bin/true", nil, nil, [nil], [nil]) == 0
  },
  { kill(getppid(), 0) == 0 },
  { rename("/etc/hostname", "/etc/hostname") == 0 },
  {
    var limit = rlimit(rlim_cur: 100, rlim_max: 100)
    return setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
  },
  { mmap(nil, 8 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED },
]
for (index, isPossible) in attempts.enumerated() where isPossible() { _exit(Int32(index + 1)) }
_exit(0)
