package dial

import (
	"errors"
	"net"
	"os"
)

// Cause is the innermost reason of a network error: addresses and operations
// around it are said elsewhere.
func Cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err.Error()
}
