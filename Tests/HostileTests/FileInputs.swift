// Logs, captures and socket paths that cannot be, that fill up, or that vanish.
import Chisocket
import Glibc
import TCPSegments
import TestSupport

extension HostileInput {
    static let files: [HostileInput] = full + vanishing + paths

    /// What cannot be written is dropped, and the daemon goes on.
    private static let full: [HostileInput] =
        [
            ("a log on a full disk", Launch(arguments: ["--log", "/dev/full", "-vvvv"])),
            ("a capture on a full disk", Launch(arguments: ["--capture", "/dev/full"])),
            (
                "both on a full disk, which ends their thread's hope but not the daemon",
                Launch(arguments: ["--log", "/dev/full", "-vvvv", "--capture", "/dev/full"])
            ),
            ("standard error that is full", Launch(arguments: ["-vvvv"], prelude: "exec 2>/dev/full")),
            ("standard error that is closed", Launch(arguments: ["-vvvv"], prelude: "exec 2>&-")),
            ("all standard descriptors closed", Launch(arguments: ["-vvvv"], prelude: "exec 0>&- 1>&- 2>&-")),
            (
                "standard error into a pipe that nobody reads",
                Launch(arguments: ["-vvvv"], prelude: "mkfifo $4.fifo; exec 2<>$4.fifo")
            ),
            (
                "standard error into a pipe whose reader is gone",
                Launch(arguments: ["-vvvv"], prelude: "mkfifo $4.fifo; exec 3<>$4.fifo 2>$4.fifo 3>&-; rm $4.fifo")
            ),
            (
                "log and capture on a file system of 64 KiB that fills up (where one can be mounted)",
                Launch(arguments: ["-vvvv"], prelude: smallFileSystem)
            ),
            (
                "a capture past the size limit of files",
                Launch(arguments: ["--checksum"], prelude: "ulimit -f 64; set -- \"$@\" --capture $4.pcap")
            ),
            (
                "a log past the size limit of files",
                Launch(arguments: ["-vvvv"], prelude: "ulimit -f 8; set -- \"$@\" --log $4.log")
            ),
        ].map { (name: String, launch: Launch) in
            HostileInput(.files, name, launch: launch) { siege in
                for _ in 0..<10 { try checkedTransfer(siege.victim.path, to: siege.neighbourAddress) }
                try siege.waitForBlocks(20)
                siege.removeFiles("victim.pcap", "victim.log", "victim.fifo")
                rmdir(siege.folder.path + "/victim.small")
            }
        }

    /// Goes on in a mount namespace of its own, which ends with the daemon, with log and capture on a small tmpfs. Where that
    /// is not allowed, they are on a device that is always full.
    private static let smallFileSystem = """
        mkdir $4.small
        mount_it='mount -t tmpfs -o size=64k none $4.small'
        if unshare -m sh -c "$mount_it" sh "$@" 2>/dev/null; then
            exec unshare -m sh -c "$mount_it"'; exec "$0" "$@" --log $4.small/log --capture $4.small/pcap' "$0" "$@"
        fi
        set -- "$@" --log /dev/full --capture /dev/full
        """

    private static let vanishing: [HostileInput] = [
        HostileInput(
            .files, "log and capture removed while they are written",
            launch: Launch(arguments: ["-vvvv"], prelude: "set -- \"$@\" --log $4.log --capture $4.pcap")
        ) { siege in
            siege.removeFiles("victim.pcap", "victim.log")
            try siege.waitForBlocks(5)
            siege.victim.signal(SIGHUP)
            try waitUntil("the log is there again") { siege.folder.files.contains("victim.log") }
            siege.removeFiles("victim.log")
        },
        HostileInput(
            .files, "SIGHUP when the log has become a folder, a FIFO, and nothing",
            launch: Launch(arguments: ["-vvvv"], prelude: "set -- \"$@\" --log $4.log")
        ) { siege in
            let log = siege.victim.path.path + ".log"
            for make in [{ mkdir(log, 0o755) }, { mkfifo(log, 0o600) }, { 0 }] {
                unlink(log)
                rmdir(log)
                _ = make()
                for _ in 0..<20 { siege.victim.signal(SIGHUP) }
                try siege.waitForBlocks(5)
            }
            try waitUntil("the log is there again") { siege.folder.files.contains("victim.log") }
            siege.removeFiles("victim.log")
        },
        HostileInput(.files, "a second daemon whose sockets were taken by a third") { siege in
            let second = try siege.twin()
            siege.removeFiles("twin", "twin.control")
            let third = try DaemonProcess("twin", at: siege.spareAddress(0), in: siege.folder)
            try third.waitUntilServing()
            second.signal(SIGTERM)
            _ = try second.waitForEnding()
            // Its sockets are still there.
            try third.waitUntilServing()
            try third.stop()
            try siege.requireNothingLeft(of: third)
        },
    ]

    private static let paths: [HostileInput] = [
        HostileInput(.files, "a second daemon at the same path") { siege in
            let said = try siege.refused(
                Launch(arguments: ["--socket", siege.victim.path.path], setsSocket: false))
            guard said.contains("running there") else { throw Failure(said) }
        },
        HostileInput(.files, "a second daemon at the same address") { siege in
            let said = try siege.refused(
                Launch(arguments: ["--address", siege.victimAddress], setsAddress: false))
            guard said.contains("in use") else { throw Failure(said) }
        },
        HostileInput(.files, "a file of somebody's where the socket should be") { siege in
            for name in ["twin", "twin.control"] {
                let path = siege.folder.path + "/" + name
                let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
                _ = write(descriptor, "precious", 8)
                close(descriptor)
                let twin = try DaemonProcess("twin", at: siege.twinAddress, in: siege.folder)
                let ending = try twin.waitForEnding()
                guard case .exit(let code) = ending, code != 0 else { throw Failure("it ended with \(ending)") }
                guard textOfFile(path) == "precious" else { throw Failure("the file is gone") }
                unlink(path)
                try siege.requireNothingLeft(of: twin)
            }
        },
        HostileInput(.files, "a folder where the socket should be") { siege in
            mkdir(siege.folder.path + "/twin", 0o755)
            defer { rmdir(siege.folder.path + "/twin") }
            let twin = try DaemonProcess("twin", at: siege.twinAddress, in: siege.folder)
            let ending = try twin.waitForEnding()
            guard case .exit(let code) = ending, code != 0 else { throw Failure("it ended with \(ending)") }
            siege.removeFiles("twin.err")
        },
        HostileInput(.files, "a symbolic link to a file where the socket should be") { siege in
            symlink(siege.folder.path + "/victim.err", siege.folder.path + "/twin")
            defer { unlink(siege.folder.path + "/twin") }
            let twin = try DaemonProcess("twin", at: siege.twinAddress, in: siege.folder)
            let ending = try twin.waitForEnding()
            guard case .exit(let code) = ending, code != 0 else { throw Failure("it ended with \(ending)") }
            siege.removeFiles("twin.err")
        },
        HostileInput(.files, "stale sockets where the sockets should be") { siege in
            for name in ["twin", "twin.control"] {
                var address = sockaddr_un()
                address.sun_family = sa_family_t(AF_UNIX)
                let path = Array((siege.folder.path + "/" + name).utf8)
                withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
                let stale = socket(AF_UNIX, streamSocket, 0)
                _ = withUnsafePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        bind(stale, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                    }
                }
                close(stale)
            }
            try siege.served(Launch())
        },
        HostileInput(.files, "socket paths that cannot be") { siege in
            for path in [
                "/proc/nowhere/socket", "/dev/null/socket", siege.folder.path + "/no/such/folder",
                siege.folder.path + "/" + String(repeating: "x", count: 200), "/", "",
            ] {
                _ = try siege.refused(Launch(arguments: ["--socket", path], setsSocket: false))
            }
        },
        HostileInput(.files, "logs and captures that cannot be opened") { siege in
            let fifo = siege.folder.path + "/fifo"
            mkfifo(fifo, 0o600)
            defer { unlink(fifo) }
            for option in ["--log", "--capture"] {
                for path in [siege.folder.path, "/proc/nowhere/file", "/dev/null/file", fifo, ""] {
                    _ = try siege.refused(Launch(arguments: [option, path]))
                }
            }
        },
    ]
}

extension Siege {
    /// Takes files out of the folder.
    func removeFiles(_ names: String...) { for name in names { unlink(folder.path + "/" + name) } }
}
