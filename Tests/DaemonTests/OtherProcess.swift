// A process of its own between a test and the daemon: to the daemon it is the client.
import CLinux
import Glibc
import TestSupport
import Testing

/// A program that connects to the daemon and passes bytes on both ways.
final class OtherProcess {
    let client: MessageClient
    private let pid: pid_t
    private var isRunning = true

    private static let program = """
        #include <poll.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <sys/un.h>
        #include <unistd.h>
        int main(int count, char **arguments) {
            struct sockaddr_un address = { .sun_family = AF_UNIX };
            strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
            int daemon = socket(AF_UNIX, SOCK_STREAM, 0);
            if (connect(daemon, (struct sockaddr *)&address, sizeof address) < 0) return 1;
            struct pollfd both[2] = {{ .fd = 3, .events = POLLIN }, { .fd = daemon, .events = POLLIN }};
            char bytes[65536];
            while (poll(both, 2, -1) > 0)
                for (int i = 0; i < 2; i++) {
                    if (!both[i].revents) continue;
                    ssize_t n = read(both[i].fd, bytes, sizeof bytes);
                    if (n <= 0) return 0;
                    for (ssize_t sent = 0; sent < n;) {
                        ssize_t m = write(both[1 - i].fd, bytes + sent, n - sent);
                        if (m <= 0) return 0;
                        sent += m;
                    }
                }
            return 0;
        }
        """

    init(_ daemon: TestDaemon, in folder: TemporaryFolder) throws {
        let path = folder.path + "/relay"
        if !folder.files.contains("relay") {
            let file = try #require(fopen(path + ".c", "w"))
            fputs(Self.program, file)
            fclose(file)
            // clang comes with Swift.
            let compile = "clang -o \(path) \(path).c 2>/dev/null || gcc -o \(path) \(path).c"
            let compiler = try startShell(compile, giving: open("/dev/null", O_RDONLY))
            waitForEnd(of: compiler)
            try #require(folder.files.contains("relay"), "no C compiler made the relay")
        }
        var ends: [Int32] = [-1, -1]
        try #require(clinux_socketpair(&ends) == 0)
        pid = try startShell("exec \(path) \(daemon.path.path)", giving: ends[1])
        client = try MessageClient(over: ends[0])
    }

    /// Ends the process without a chance to say anything.
    func kill() {
        guard isRunning else { return }
        isRunning = false
        killAndWait(pid)
    }

    deinit { kill() }
}
