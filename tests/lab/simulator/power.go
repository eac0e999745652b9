package main

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const shutdownTime = time.Second

var errExporting = errors.New("an export of this VM is under way")

// power switches a VM as another administrator would. While it is exported vCenter refuses to start it, unless forced.
func (l *Lab) power(ref types.ManagedObjectReference, on, force bool) error {
	as, vm := l.someone(), l.vm(ref)
	var task types.ManagedObjectReference
	if on {
		if !force && l.openLeases(ref) > 0 {
			return errExporting
		}
		as.WithLock(vm, func() {
			res := vm.PowerOnVMTask(as, &types.PowerOnVM_Task{This: ref}).(*methods.PowerOnVM_TaskBody)
			task = res.Res.Returnval
		})
	} else {
		as.WithLock(vm, func() {
			res := vm.PowerOffVMTask(as, &types.PowerOffVM_Task{This: ref}).(*methods.PowerOffVM_TaskBody)
			task = res.Res.Returnval
		})
	}
	t := l.reg.Get(task).(*simulator.Task)
	t.Wait()
	if e := t.Info.Error; e != nil {
		return errors.New(e.LocalizedMessage)
	}
	return nil
}

// ShutdownGuest works through Tools, as on vCenter, and takes a moment.
func (l *Lab) ShutdownGuest(ctx *simulator.Context, r *types.ShutdownGuest) soap.HasFault {
	body, vm, m := new(methods.ShutdownGuestBody), l.vm(r.This), l.machine(r.This)
	if vm == nil || m == nil {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: r.This})
		return body
	}
	ctx.WithLock(vm, func() {
		switch {
		case vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn:
			body.Fault_ = simulator.Fault("", &types.InvalidPowerState{
				RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState})
		case vm.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning):
			body.Fault_ = simulator.Fault("", new(types.ToolsUnavailable))
		}
	})
	if body.Fault_ != nil {
		return body
	}
	body.Res = new(types.ShutdownGuestResponse)
	if m.spec.Shutdown == "hangs" {
		return body
	}
	as := l.someone()
	as.Session.UserName = ctx.Session.UserName
	time.AfterFunc(shutdownTime, func() {
		as.WithLock(vm, func() {
			if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
				vm.ShutdownGuest(as, r)
			}
		})
	})
	return body
}

// powerChanged fills in what follows from a VM's power state: boot time and what Tools tells.
func (l *Lab) powerChanged(ctx *simulator.Context, vm *mo.VirtualMachine) {
	m := l.machine(vm.Self)
	if m == nil {
		return
	}
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	var boot any
	heartbeat := types.ManagedEntityStatusGray
	guest := types.GuestInfo{
		ToolsStatus:        types.VirtualMachineToolsStatusToolsNotRunning,
		ToolsVersionStatus: string(types.VirtualMachineToolsVersionStatusGuestToolsUnmanaged),
		ToolsRunningStatus: string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning),
		GuestState:         string(types.VirtualMachineGuestStateNotRunning),
		Net:                []types.GuestNicInfo{},
		IpStack:            []types.GuestStackInfo{},
	}
	if !m.spec.Tools {
		guest.ToolsStatus = types.VirtualMachineToolsStatusToolsNotInstalled
		guest.ToolsVersionStatus = string(types.VirtualMachineToolsVersionStatusGuestToolsNotInstalled)
	}
	if on {
		boot = time.Now()
		guest.GuestState = string(types.VirtualMachineGuestStateRunning)
	}
	if on && m.spec.Tools {
		heartbeat = types.ManagedEntityStatusGreen
		guest.ToolsStatus = types.VirtualMachineToolsStatusToolsOk
		guest.ToolsRunningStatus = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
		guest.HostName = m.spec.Hostname
		guest.Net = m.nics
		for _, n := range m.nics {
			if len(n.IpAddress) > 0 {
				guest.IpAddress = n.IpAddress[0]
				break
			}
		}
		guest.IpStack = []types.GuestStackInfo{{DnsConfig: &types.NetDnsConfigInfo{HostName: m.spec.Hostname}}}
	}
	if on {
		l.written(vm)
	}
	changes := []types.PropertyChange{
		{Name: "runtime.bootTime", Val: boot}, {Name: "summary.runtime.bootTime", Val: boot},
		{Name: "guestHeartbeatStatus", Val: heartbeat},
		{Name: "guest.guestId", Val: m.spec.GuestID}, {Name: "guest.guestState", Val: guest.GuestState},
		{Name: "guest.toolsVersionStatus", Val: guest.ToolsVersionStatus}, {Name: "guest.toolsVersionStatus2", Val: guest.ToolsVersionStatus},
		{Name: "guest.net", Val: guest.Net}, {Name: "guest.ipStack", Val: guest.IpStack},
	}
	for name, value := range map[string]any{"toolsStatus": guest.ToolsStatus, "toolsRunningStatus": guest.ToolsRunningStatus,
		"hostName": guest.HostName, "ipAddress": guest.IpAddress} {
		changes = append(changes, types.PropertyChange{Name: "guest." + name, Val: value},
			types.PropertyChange{Name: "summary.guest." + name, Val: value})
	}
	ctx.Map.Update(ctx, vm, changes)
}

// written marks what a running guest changes: the content id of its disks, their change ids, the version of the VM.
func (l *Lab) written(vm *mo.VirtualMachine) {
	eachDisk(vm.Config.Hardware.Device, func(_ *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) {
		if err := newContentID(l.path(b.FileName)); err != nil {
			log.Print(err)
		}
	})
	l.stamp(vm)
	version := []types.PropertyChange{{Name: "config.changeVersion", Val: fmt.Sprint(time.Now().UnixNano())}}
	l.reg.Update(l.someone(), vm, version)
}
