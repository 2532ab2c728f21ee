################################################################################
#
# pumice-agent: an example; packaging/README.md says how it is used
#
################################################################################

PUMICE_AGENT_VERSION = local
PUMICE_AGENT_SITE = $(dir $(call qstrip,$(BR2_PACKAGE_PUMICE_AGENT_PROGRAM)))
PUMICE_AGENT_SITE_METHOD = local
PUMICE_AGENT_LICENSE = MIT or Apache-2.0

PUMICE_AGENT_PROGRAM = $(notdir $(call qstrip,$(BR2_PACKAGE_PUMICE_AGENT_PROGRAM)))
PUMICE_AGENT_LINE = $(call qstrip,$(BR2_PACKAGE_PUMICE_AGENT_LINE))

define PUMICE_AGENT_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/$(PUMICE_AGENT_PROGRAM) $(TARGET_DIR)/sbin/pumice-agent
endef

# With BR2_TARGET_GENERIC_GETTY off: two readers of one line would each get half of every frame.
define PUMICE_AGENT_BUSYBOX_INITTAB
	grep -q pumice-agent $(TARGET_DIR)/etc/inittab || \
		echo 'null::respawn:/sbin/pumice-agent$(if $(PUMICE_AGENT_LINE), --line $(PUMICE_AGENT_LINE))' \
		>>$(TARGET_DIR)/etc/inittab
endef
ifeq ($(BR2_INIT_BUSYBOX),y)
PUMICE_AGENT_TARGET_FINALIZE_HOOKS += PUMICE_AGENT_BUSYBOX_INITTAB
endif

$(eval $(generic-package))
