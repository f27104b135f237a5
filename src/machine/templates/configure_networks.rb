# Vagrant sets up networks of this guest in one of two ways and looks for a program called cloud-init to choose. Flatcar
# has coreos-cloudinit instead: say so.

require Vagrant.source_root.join('plugins/guests/coreos/cap/configure_networks')

VagrantPlugins::GuestCoreOS::Cap::ConfigureNetworks.define_singleton_method(:configure_networks) do |machine, networks|
  configure_networks_cloud_init(machine, networks)
end
