package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	exportPrefix = "/nfc/lab/"
	// a real lease is not ready at once
	leasePreparation = 200 * time.Millisecond
)

// Lease is an HttpNfcLease that serves disks as streamOptimized VMDK.
type Lease struct {
	mo.HttpNfcLease
	lab     *Lab
	vm      types.ManagedObjectReference
	files   map[string]string // disk-0.vmdk -> file with the content
	timer   *time.Timer
	ended   atomic.Bool
	expired atomic.Bool
}

func (l *Lab) openLeases(vm types.ManagedObjectReference) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lease := range l.leases {
		if lease.vm == vm && !lease.ended.Load() {
			n++
		}
	}
	return n
}

func (l *Lab) ExportVm(ctx *simulator.Context, r *types.ExportVm) soap.HasFault {
	body, vm := new(methods.ExportVmBody), l.vm(r.This)
	switch {
	case vm == nil:
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: r.This})
	case vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff:
		body.Fault_ = simulator.Fault("", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: vm.Runtime.PowerState})
	case l.openLeases(r.This) > 0:
		body.Fault_ = simulator.Fault("", new(types.InvalidState))
	default:
		body.Res = &types.ExportVmResponse{Returnval: l.export(ctx, vm, vm.Config.Hardware.Device)}
	}
	return body
}

func (l *Lab) ExportSnapshot(ctx *simulator.Context, r *types.ExportSnapshot) soap.HasFault {
	body := new(methods.ExportSnapshotBody)
	s, ok := l.reg.Get(r.This).(*simulator.VirtualMachineSnapshot)
	if !ok {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: r.This})
		return body
	}
	body.Res = &types.ExportSnapshotResponse{Returnval: l.export(ctx, l.vm(s.Vm), s.Config.Hardware.Device)}
	return body
}

func (l *Lab) export(ctx *simulator.Context, vm *simulator.VirtualMachine, devices []types.BaseVirtualDevice) types.ManagedObjectReference {
	id := uuid.NewString()
	lease := &Lease{lab: l, vm: vm.Self, files: map[string]string{}}
	lease.Self = types.ManagedObjectReference{Type: "HttpNfcLease", Value: "session[" + ctx.Session.Key + "]" + id}
	lease.State, lease.Mode = types.HttpNfcLeaseStateInitializing, string(types.HttpNfcLeaseModePushOrGet)
	timeout := time.Duration(l.cfg.LeaseTimeout * float64(time.Second))
	info := types.HttpNfcLeaseInfo{Lease: lease.Self, Entity: vm.Self, LeaseTimeout: int32(l.cfg.LeaseTimeout)}
	base, thumbprint := l.exports.address(l.get().LeaseHost)
	eachDisk(devices, func(d *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) {
		name := fmt.Sprintf("disk-%d.vmdk", len(lease.files))
		lease.files[name] = rawOf(l.path(b.FileName))
		info.TotalDiskCapacityInKB += d.CapacityInKB
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: fmt.Sprintf("/%s/VirtualDisk:%d", vm.Self.Value, d.Key), ImportKey: fmt.Sprintf("/%s/VirtualDisk:%d", vm.Name, d.Key),
			Url: base + exportPrefix + id + "/" + name, SslThumbprint: thumbprint, Disk: types.NewBool(true), TargetId: name,
		})
	})
	if vm.Config.Firmware == string(types.GuestOsDescriptorFirmwareTypeEfi) { // vSphere 7 and later export it too
		name := filepath.Base(l.machine(vm.Self).dir) + ".nvram"
		lease.files[name] = filepath.Join(l.datastore(), l.machine(vm.Self).dir, name)
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: "/" + vm.Self.Value + "/nvram", ImportKey: "/" + vm.Name + "/nvram",
			Url: base + exportPrefix + id + "/" + name, SslThumbprint: thumbprint, Disk: types.NewBool(false), TargetId: name,
		})
	}
	l.reg.Put(lease)
	l.mu.Lock()
	l.leases[id] = lease
	l.mu.Unlock()
	lease.timer = time.AfterFunc(timeout, func() { lease.expire() })
	time.AfterFunc(leasePreparation, func() {
		as := l.someone()
		l.reg.WithLock(as, lease, func() {
			if lease.State == types.HttpNfcLeaseStateInitializing {
				as.Update(lease, []types.PropertyChange{{Name: "info", Val: &info}, {Name: "state", Val: types.HttpNfcLeaseStateReady}})
			}
		})
	})
	return lease.Self
}

// end closes the lease and cuts its open bodies.
func (n *Lease) end(ctx *simulator.Context, state types.HttpNfcLeaseState, fault *types.LocalizedMethodFault) {
	if n.ended.Swap(true) {
		return
	}
	n.timer.Stop()
	changes := []types.PropertyChange{{Name: "state", Val: state}}
	if fault != nil {
		changes = append(changes, types.PropertyChange{Name: "error", Val: fault})
	}
	n.lab.reg.AtomicUpdate(ctx, n, changes)
}

func (n *Lease) expire() {
	n.expired.Store(true)
	n.end(n.lab.someone(), types.HttpNfcLeaseStateError,
		&types.LocalizedMethodFault{Fault: new(types.Timedout), LocalizedMessage: "The lease timed out."})
}

// refusal is the fault of a call on a lease that is not ready.
func (n *Lease) refusal() *soap.Fault {
	switch {
	case n.expired.Load():
		return simulator.Fault("The lease timed out.", new(types.Timedout))
	case n.State != types.HttpNfcLeaseStateReady:
		return simulator.Fault("", new(types.InvalidState))
	}
	return nil
}

func (n *Lease) HttpNfcLeaseProgress(_ *simulator.Context, r *types.HttpNfcLeaseProgress) soap.HasFault {
	if f := n.refusal(); f != nil {
		return &methods.HttpNfcLeaseProgressBody{Fault_: f}
	}
	n.timer.Reset(time.Duration(n.lab.cfg.LeaseTimeout * float64(time.Second)))
	n.TransferProgress = r.Percent
	return &methods.HttpNfcLeaseProgressBody{Res: new(types.HttpNfcLeaseProgressResponse)}
}

func (n *Lease) HttpNfcLeaseComplete(ctx *simulator.Context, _ *types.HttpNfcLeaseComplete) soap.HasFault {
	if f := n.refusal(); f != nil {
		return &methods.HttpNfcLeaseCompleteBody{Fault_: f}
	}
	n.end(ctx, types.HttpNfcLeaseStateDone, nil)
	return &methods.HttpNfcLeaseCompleteBody{Res: new(types.HttpNfcLeaseCompleteResponse)}
}

func (n *Lease) HttpNfcLeaseAbort(ctx *simulator.Context, r *types.HttpNfcLeaseAbort) soap.HasFault {
	if n.expired.Load() {
		return &methods.HttpNfcLeaseAbortBody{Fault_: n.refusal()}
	}
	n.end(ctx, types.HttpNfcLeaseStateError, r.Fault)
	return &methods.HttpNfcLeaseAbortBody{Res: new(types.HttpNfcLeaseAbortResponse)}
}

// serveExport answers a lease's URL. The lease's id in it is the only credential, as on a real host.
func (l *Lab) serveExport(w http.ResponseWriter, r *http.Request) {
	id, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, exportPrefix), "/")
	l.mu.Lock()
	lease := l.leases[id]
	l.calls["nfc"]++
	l.mu.Unlock()
	if lease == nil || lease.ended.Load() || lease.files[name] == "" {
		http.NotFound(w, r)
		return
	}
	open := l.exports.stream
	if strings.HasSuffix(name, ".nvram") {
		open = openRaw
	}
	body, size, err := open(lease.files[name])
	if err != nil {
		log.Printf("export of %s: %s", lease.files[name], err)
		http.Error(w, "export failed", http.StatusInternalServerError)
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/x-vnd.vmware-streamVmdk")
	switch l.get().ExportMode {
	case "length":
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	case "close":
		w.Header().Set("Transfer-Encoding", "identity") // net/http: no chunks, the end of the connection is the end of the body
	}
	if r.Method == http.MethodHead {
		return
	}
	out := l.faults.disturb(w, r.URL.Path, 0, size)
	if out == nil {
		return
	}
	if err := pump(out, body, 64<<10, lease.ended.Load); err != nil {
		log.Printf("export of %s: %s", name, err)
		panic(http.ErrAbortHandler) // closes the connection without a clean end of the body
	}
}

func pump(w io.Writer, r io.Reader, piece int, stop func() bool) error {
	buf := make([]byte, piece)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if stop() {
				return fmt.Errorf("the lease ended")
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// serveHost is the ESXi host: it knows nothing but exports.
func (l *Lab) serveHost(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, exportPrefix) {
		http.NotFound(w, r)
		return
	}
	l.serveExport(w, r)
}
